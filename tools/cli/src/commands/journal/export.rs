//! `memlane journal export`: the messages of a journal, to a file that others read.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use memlane::Shape;
use memlane::journal::{Entry, Message};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::{Map, Value};

use super::super::ending::{Ending, complain};
use super::super::output::Output;
use super::super::signals::Signals;
use super::super::subscribe::fields::{Shown, shape_of_text};
use super::super::subscribe::print::{Columns, Format as Form, Item, Printer, hex};
use super::super::units;
use super::{Begin, missing};

const AFTER_HELP: &str = "\
The file gets its name once it is whole: whatever ends the export leaves none that is half of one. Its format goes by its ending, unless \
--format says it: jsonl as `memlane journal dump --json` prints it; parquet with a row for each message:

  position   int64              time       timestamp, ns UTC     publisher  int32
  key        binary             source     string                sequence   int64, the source's number
  headers    string, JSON       payload    binary                message    string, JSON, if the topic describes its type

A gap of the journal is told on stderr, where it lies: the exit code is then 3, unless it is a frame that a dead publisher left unfinished.

Examples:
  memlane journal export journal/md.trades --to trades.parquet
  memlane journal export journal/md.trades --to today.jsonl --since 2026-11-25T00:00:00Z
  duckdb -c \"select source, count(*) from 'trades.parquet' group by source\"";

const SCHEMA: &str = "message memlane {
    required int64 position;
    required int64 time (timestamp(nanos, true));
    required int32 publisher;
    optional binary key;
    optional binary source (utf8);
    optional int64 sequence;
    optional binary headers (json);
    required binary payload;
    optional binary message (json);
}";

/// Rows, and bytes of payloads, after which a row group ends.
const GROUP_ROWS: usize = 1 << 18;
const GROUP_BYTES: usize = 64 << 20;

/// Write the messages of a journal to a file that others read: Parquet or JSON lines
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Export {
    /// The journal, or a directory with one journal in it
    directory: PathBuf,
    /// The file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// What to write: parquet or jsonl [default: as FILE ends]
    #[arg(long, value_enum, hide_possible_values = true)]
    format: Option<Format>,
    #[command(flatten)]
    begin: Begin,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    count: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Parquet,
    Jsonl,
}

impl Export {
    fn format(&self) -> anyhow::Result<Format> {
        let by_ending = match self.to.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => Some(Format::Parquet),
            Some("jsonl" | "ndjson") => Some(Format::Jsonl),
            _ => None,
        };
        self.format.or(by_ending).with_context(|| {
            format!("{}: give --format parquet or jsonl, or a name that ends in .parquet or .jsonl", self.to.display())
        })
    }

    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        let format = self.format()?;
        let journal = super::open_the_one(&self.directory)?;
        let unfinished = Unfinished::create(&self.to)?;
        let mut sink = Sink::new(format, &journal.subject().description, &unfinished)?;
        let (mut reader, mut left, mut has_gap) =
            (journal.read(self.begin.from(&journal)?)?, self.count.unwrap_or(u64::MAX), false);
        while left > 0 {
            if let Some(stop) = signals.stop() {
                return Ok(Ending::Stopped(stop));
            }
            match reader.next()? {
                None => break,
                Some(Entry::Message(message)) => {
                    left -= 1;
                    sink.message(&message)?;
                }
                Some(Entry::Gap(gap)) => {
                    if let Some(missing) = missing(&gap) {
                        has_gap = true;
                        complain(&missing);
                    }
                }
            }
        }
        sink.finish()?;
        unfinished.finish()?;
        Ok(if has_gap { Ending::Unsound } else { Ending::Done })
    }
}

/// A file that has its name once it is whole; dropped before, it goes.
#[derive(Debug)]
struct Unfinished {
    file: File,
    path: PathBuf,
    name: PathBuf,
}

impl Unfinished {
    fn create(name: &Path) -> anyhow::Result<Self> {
        let mut path = name.as_os_str().to_owned();
        path.push(".new");
        let path = PathBuf::from(path);
        let file = File::create(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self { file, path, name: name.to_owned() })
    }

    fn finish(self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("can't write {}", self.path.display()))?;
        std::fs::rename(&self.path, &self.name).with_context(|| format!("can't make {}", self.name.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has its name, or nobody misses it.
        let _ = std::fs::remove_file(&self.path);
    }
}

enum Sink {
    Lines(Printer),
    Table(Table),
}

impl Sink {
    fn new(format: Format, description: &str, unfinished: &Unfinished) -> anyhow::Result<Self> {
        let file = unfinished.file.try_clone().context("can't write the file")?;
        Ok(match format {
            Format::Jsonl => {
                let columns = Columns { positions: false, keys: false, stamps: false, headers: false };
                Self::Lines(Printer::described(Output::file(file), description, Form::Fields, true, columns))
            }
            Format::Parquet => Self::Table(Table::new(file, description)?),
        })
    }

    fn message(&mut self, message: &Message<'_>) -> anyhow::Result<()> {
        match self {
            Self::Lines(printer) => printer.print("message", &Item::recorded(message)),
            Self::Table(table) => table.add(message),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Lines(mut printer) => printer.output.flush(),
            Self::Table(table) => table.finish(),
        }
    }
}

/// A Parquet file, and the rows of its next group, by columns.
struct Table {
    writer: SerializedFileWriter<File>,
    shape: Option<Rc<Shape>>,
    rows: usize,
    bytes: usize,
    positions: Vec<i64>,
    times: Vec<i64>,
    publishers: Vec<i32>,
    keys: Vec<Option<ByteArray>>,
    sources: Vec<Option<ByteArray>>,
    sequences: Vec<Option<i64>>,
    headers: Vec<Option<ByteArray>>,
    payloads: Vec<ByteArray>,
    messages: Vec<Option<ByteArray>>,
}

impl Table {
    fn new(file: File, description: &str) -> anyhow::Result<Self> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, Arc::new(parse_message_type(SCHEMA)?), Arc::new(properties))?;
        let shape = Some(description).filter(|text| !text.is_empty()).and_then(shape_of_text);
        Ok(Self {
            writer,
            shape,
            rows: 0,
            bytes: 0,
            positions: Vec::new(),
            times: Vec::new(),
            publishers: Vec::new(),
            keys: Vec::new(),
            sources: Vec::new(),
            sequences: Vec::new(),
            headers: Vec::new(),
            payloads: Vec::new(),
            messages: Vec::new(),
        })
    }

    fn add(&mut self, message: &Message<'_>) -> anyhow::Result<()> {
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        let source = message.parts.fields.source().ok().flatten();
        let headers: Map<String, Value> =
            message.headers().map(|(key, value)| (key.to_owned(), as_text(value))).collect();
        let shown = self.shape.as_ref().and_then(|shape| shape.read(message.payload()).ok());
        self.positions.push(message.position as i64);
        self.times.push(message.unix_ns as i64);
        self.publishers.push(message.publisher() as i32);
        self.keys.push(message.key().map(|key| key.to_vec().into()));
        self.sources.push(source.map(|source| text(source.name)));
        self.sequences.push(source.map(|source| source.sequence as i64));
        self.headers.push((!headers.is_empty()).then(|| text(&Value::Object(headers).to_string())));
        self.payloads.push(message.payload().to_vec().into());
        self.messages
            .push(shown.map(|value| serde_json::to_string(&Shown(&value))).transpose()?.map(|json| text(&json)));
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + message.payload().len());
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> anyhow::Result<()> {
        let mut group = self.writer.next_row_group()?;
        required::<Int64Type>(&mut group, &mut self.positions)?;
        required::<Int64Type>(&mut group, &mut self.times)?;
        required::<Int32Type>(&mut group, &mut self.publishers)?;
        optional::<ByteArrayType>(&mut group, &mut self.keys)?;
        optional::<ByteArrayType>(&mut group, &mut self.sources)?;
        optional::<Int64Type>(&mut group, &mut self.sequences)?;
        optional::<ByteArrayType>(&mut group, &mut self.headers)?;
        required::<ByteArrayType>(&mut group, &mut self.payloads)?;
        optional::<ByteArrayType>(&mut group, &mut self.messages)?;
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if self.rows > 0 {
            self.end_group()?;
        }
        self.writer.close()?;
        Ok(())
    }
}

/// Bytes as text where they are some, else as hexadecimal digits.
fn as_text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| hex(bytes), str::to_owned).into()
}

fn required<T: DataType>(group: &mut SerializedRowGroupWriter<'_, File>, values: &mut Vec<T::T>) -> anyhow::Result<()> {
    write_column::<T>(group, values, None)?;
    values.clear();
    Ok(())
}

fn optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &mut Vec<Option<T::T>>,
) -> anyhow::Result<()> {
    let levels: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
    let there: Vec<T::T> = values.drain(..).flatten().collect();
    write_column::<T>(group, &there, Some(&levels))
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> anyhow::Result<()> {
    let mut column = group.next_column()?.context("the schema has as many columns as are written")?;
    column.typed::<T>().write_batch(values, levels, None)?;
    Ok(column.close()?)
}
