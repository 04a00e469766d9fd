//! Messages by their fields, as text, as hexadecimal digits, as they are, or as JSON.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use clap::ValueEnum;
use memlane::{LastValues, Received, Shape, Topic, journal};
use serde::Serialize;

use super::fields::{self, Shown};
use crate::commands::output::Output;
use crate::commands::units;

/// How a message is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Format {
    // By the names of its fields, if the topic describes its type; else as text.
    Fields,
    // A line of text for each message.
    Text,
    // A line of hexadecimal digits for each message.
    Hex,
    // The bytes as they are, with nothing in between.
    Raw,
}

/// What is printed before a message, each with a tab behind it.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Columns {
    pub(in crate::commands) positions: bool,
    pub(in crate::commands) keys: bool,
    pub(in crate::commands) stamps: bool,
    pub(in crate::commands) headers: bool,
}

/// Prints messages.
#[derive(Debug)]
pub(in crate::commands) struct Printer {
    pub(in crate::commands) output: Output,
    /// What stamps are read by, if there is one topic.
    topic: Option<Topic>,
    /// Of the next messages, where there are several topics.
    topic_name: Option<String>,
    /// How the next messages are read, if their topic says so.
    shape: Option<Rc<Shape>>,
    /// The same of each topic that there was, where there are several.
    shapes: HashMap<String, Option<Rc<Shape>>>,
    format: Format,
    json: bool,
    columns: Columns,
    line: Vec<u8>,
}

/// A message as it is printed, wherever it comes from.
#[derive(Debug)]
pub(in crate::commands) struct Item<'a> {
    pub(in crate::commands) position: u64,
    pub(in crate::commands) publisher: u32,
    /// When it was published, in nanoseconds since 1970.
    pub(in crate::commands) unix_ns: Option<u64>,
    pub(in crate::commands) key: Option<&'a [u8]>,
    pub(in crate::commands) headers: Vec<(&'a str, &'a [u8])>,
    pub(in crate::commands) payload: &'a [u8],
}

impl<'a> Item<'a> {
    /// One of a journal.
    pub(in crate::commands) fn recorded(message: &journal::Message<'a>) -> Self {
        Self {
            position: message.position,
            publisher: message.publisher(),
            unix_ns: Some(message.unix_ns),
            key: message.key(),
            headers: message.headers().collect(),
            payload: message.payload(),
        }
    }

    fn of(received: &Received<'a, [u8]>, topic: Option<&Topic>) -> Self {
        Self {
            position: received.position,
            publisher: received.publisher(),
            unix_ns: topic.zip(received.stamp()).map(|(topic, stamp)| topic.stamp_unix_ns(stamp)),
            key: received.key().ok().flatten(),
            headers: received.headers().collect(),
            payload: received.view,
        }
    }
}

/// A message with all that belongs to it.
#[derive(Debug, Serialize)]
struct Message<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    position: u64,
    publisher: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp_unix_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, String>,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// By the names of its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Shown<'a>>,
    /// Why it could not be read by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    /// The payload, if it isn't text or wasn't to be shown as such.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// That the last values are over, and where what comes begins.
#[derive(Debug, Serialize)]
struct Live {
    event: &'static str,
    position: u64,
    keys: usize,
}

impl Printer {
    /// Of messages of `topic`; without one, of several, each of which is told by [`Printer::of_topic`].
    pub(super) fn new(output: Output, topic: Option<&Topic>, format: Format, json: bool, columns: Columns) -> Self {
        let shape = topic.filter(|_| format == Format::Fields).and_then(fields::shape_of);
        let (topic, topic_name, shapes, line) = (topic.cloned(), None, HashMap::new(), Vec::new());
        Self { output, topic, topic_name, shape, shapes, format, json, columns, line }
    }

    /// Of messages of a topic that isn't there, which are described by `description`.
    pub(in crate::commands) fn described(
        output: Output,
        description: &str,
        format: Format,
        json: bool,
        columns: Columns,
    ) -> Self {
        let shape = Some(description).filter(|text| format == Format::Fields && !text.is_empty());
        Self { shape: shape.and_then(fields::shape_of_text), ..Self::new(output, None, format, json, columns) }
    }

    /// The next messages are of this topic, which is printed with each. `open` is asked for a topic that is new, or was forgotten.
    pub(super) fn of_topic(&mut self, name: &str, open: impl FnOnce() -> Option<Topic>) {
        if self.topic_name.as_deref() != Some(name) {
            self.topic_name = Some(name.to_owned());
            if self.format == Format::Fields {
                let shape = || open().as_ref().and_then(fields::shape_of);
                self.shape = self.shapes.entry(name.to_owned()).or_insert_with(shape).clone();
            }
        }
    }

    /// Prints the last message of each key; as JSON also the position that they are the state at.
    pub(super) fn last_values(&mut self, values: &LastValues<[u8]>) -> anyhow::Result<()> {
        for received in values.iter() {
            self.received("last_value", &received?)?;
        }
        if self.json {
            self.output.json(&Live { event: "live", position: values.position(), keys: values.len() })?;
        }
        Ok(())
    }

    /// A topic may have gone, and another one with its name may carry another type.
    pub(super) fn forget_topics(&mut self) {
        self.topic_name = None;
        self.shapes.clear();
    }

    /// Prints a message.
    pub(super) fn message(&mut self, received: &Received<'_, [u8]>) -> anyhow::Result<()> {
        self.received("message", received)
    }

    fn received(&mut self, event: &'static str, received: &Received<'_, [u8]>) -> anyhow::Result<()> {
        let item = Item::of(received, self.topic.as_ref());
        self.print(event, &item)
    }

    /// Prints a message of this kind.
    pub(in crate::commands) fn print(&mut self, event: &'static str, item: &Item<'_>) -> anyhow::Result<()> {
        if self.json {
            return self.print_as_json(event, item);
        }
        if self.format == Format::Raw {
            return self.output.bytes(item.payload);
        }
        self.line.clear();
        self.put_columns(item);
        match (self.format, &self.shape) {
            (Format::Hex, _) => put_hex(&mut self.line, item.payload),
            (Format::Fields, Some(shape)) => match shape.read(item.payload) {
                Ok(value) => put_text(&mut self.line, fields::as_line(&value)?.as_bytes()),
                Err(error) => {
                    put_hex(&mut self.line, item.payload);
                    self.line.extend_from_slice(format!(" ({error})").as_bytes());
                }
            },
            _ => put_text(&mut self.line, item.payload),
        }
        self.line.push(b'\n');
        self.output.bytes(&self.line)
    }

    fn put_columns(&mut self, item: &Item<'_>) {
        let line = &mut self.line;
        if let Some(name) = &self.topic_name {
            line.extend_from_slice(name.as_bytes());
            line.push(b'\t');
        }
        if self.columns.positions {
            line.extend_from_slice(item.position.to_string().as_bytes());
            line.push(b'\t');
        }
        if self.columns.keys {
            put_text(line, item.key.unwrap_or_default());
            line.push(b'\t');
        }
        if self.columns.stamps
            && let Some(unix_ns) = item.unix_ns
        {
            line.extend_from_slice(units::time(unix_ns).as_bytes());
            line.push(b'\t');
        }
        if self.columns.headers {
            for (index, (key, value)) in item.headers.iter().enumerate() {
                if index > 0 {
                    line.push(b' ');
                }
                put_text(line, key.as_bytes());
                line.push(b'=');
                put_text(line, value);
            }
            line.push(b'\t');
        }
    }

    fn print_as_json(&mut self, event: &'static str, item: &Item<'_>) -> anyhow::Result<()> {
        let read = self.shape.as_ref().map(|shape| shape.read(item.payload));
        let (value, unreadable) = match &read {
            Some(Ok(value)) => (Some(value), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let is_text = self.format != Format::Hex && read.is_none();
        let text = std::str::from_utf8(item.payload).ok().filter(|_| is_text);
        let headers = item.headers.iter().map(|(key, value)| (*key, String::from_utf8_lossy(value).into_owned()));
        self.output.json(&Message {
            event,
            topic: self.topic_name.as_deref(),
            position: item.position,
            publisher: item.publisher,
            stamp_unix_ns: item.unix_ns,
            key: item.key.map(|key| String::from_utf8_lossy(key).into_owned()),
            headers: headers.collect(),
            bytes: item.payload.len(),
            text,
            message: value.map(Shown),
            unreadable,
            hex: (text.is_none() && value.is_none()).then(|| hex(item.payload)),
        })
    }
}

/// Two digits for each byte.
pub(in crate::commands) fn hex(bytes: &[u8]) -> String {
    let mut digits = Vec::new();
    put_hex(&mut digits, bytes);
    String::from_utf8_lossy(&digits).into_owned()
}

/// Two digits for each byte.
fn put_hex(line: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]));
}

/// Text as it is, on one line: control characters but the tab, and bytes that are no UTF-8, in escapes.
pub(in crate::commands) fn put_text(line: &mut Vec<u8>, bytes: &[u8]) {
    let is_plain = |character: char| !character.is_control() || character == '\t';
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        if valid.chars().all(is_plain) {
            line.extend_from_slice(valid.as_bytes());
        } else {
            for character in valid.chars() {
                if is_plain(character) {
                    line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                } else {
                    line.extend_from_slice(character.escape_default().to_string().as_bytes());
                }
            }
        }
        line.extend_from_slice(chunk.invalid().escape_ascii().to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut line = Vec::new();
        put_text(&mut line, bytes);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn text_stays_as_it_is_and_on_one_line() {
        assert_eq!(text("{\"a\": \"b\\n\"}\tµ".as_bytes()), "{\"a\": \"b\\n\"}\tµ");
        assert_eq!(text(b"two\nlines"), "two\\nlines");
    }

    #[test]
    fn terminals_get_no_control_characters_and_no_strange_bytes() {
        assert_eq!(text(b"\x1b[2J\xff\x00ok"), "\\u{1b}[2J\\xff\\u{0}ok");
        for byte in 0..=255_u8 {
            assert!(text(&[byte]).chars().all(|character| character == '\t' || !character.is_control()), "{byte}");
        }
    }

    #[test]
    fn each_byte_is_two_digits() {
        let mut line = Vec::new();
        put_hex(&mut line, b"\x00\xff\x1a");
        assert_eq!(line, b"00ff1a");
    }
}
