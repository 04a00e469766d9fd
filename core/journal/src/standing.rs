//! What the records up to a point say together: where the log stands there, and what a reader or a writer must know to go on from it.

use crate::record::{Record, SOURCE_NAME_BYTES_MAX, Session};

/// How far a source got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStanding {
    /// Its name.
    pub name: String,
    /// The highest of its sequences in the log; zero if there is none yet.
    pub sequence: u64,
}

/// Where the log stands after some records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The position.
    pub end: u64,
    /// How many messages the journal was given before it.
    pub messages: u64,
    /// The highest stamp before it, in nanoseconds since 1970; zero if there is none.
    pub highest_unix_ns: u64,
    /// Up to where the records say that everything survives a loss of power.
    pub synced: u64,
    /// How stamps relate to time.
    pub session: Option<Session>,
    /// The sources, in the order of their places.
    pub sources: Vec<SourceStanding>,
    /// Of records that count only with the one that follows them.
    pending: Pending,
    /// Whether the segment's begin has come by.
    has_begun: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pending {
    /// Whether a block lacks its batches.
    block: bool,
    names: Vec<(u32, Vec<u8>)>,
    moved: Vec<(u32, u64)>,
}

/// No journal has so many messages, in centuries: what is counted on from fewer doesn't overflow.
const COUNT_MAX: u64 = 1 << 62;

/// A record that doesn't fit those before it, though it is whole: what is wrong with it.
pub(crate) type Misfit = &'static str;

impl Standing {
    /// Before the first record of a segment that begins at `begin`.
    #[must_use]
    pub fn before(begin: u64) -> Self {
        Self { end: begin, ..Self::default() }
    }

    /// Whether the record that says that the segment begins was among them.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the records before count without one that is still to come.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending == Pending::default()
    }

    /// Takes the next record in.
    pub(crate) fn take(&mut self, record: &Record) -> Result<(), Misfit> {
        if record.position() != self.end {
            return Err("a record doesn't begin where the one before it ends");
        }
        match record {
            Record::Session(session) => self.session = Some(*session),
            Record::Begin(begin) if begin.messages_before > COUNT_MAX => return Err("a count can't be"),
            Record::Begin(begin) => {
                (self.messages, self.highest_unix_ns) = (begin.messages_before, begin.highest_unix_ns);
                self.has_begun = true;
                self.settle()?;
            }
            Record::SourceName { place, part, text, .. } => self.take_name(*place, *part, text.as_bytes())?,
            Record::SourceMoved { place, sequence, .. } => self.pending.moved.push((*place, *sequence)),
            Record::Block(_) => self.pending.block = true,
            Record::Batch(batch) => {
                self.check_goes_on(batch.end, batch.messages_before, batch.highest_unix_ns)?;
                self.settle()?;
                self.messages += u64::from(batch.messages);
            }
            Record::Gap(gap) => {
                self.check_goes_on(gap.end, gap.messages_before, gap.highest_unix_ns)?;
                self.settle()?;
            }
        }
        self.synced = self.synced.max(record.synced());
        self.end = record.end();
        Ok(())
    }

    fn check_goes_on(&mut self, end: u64, messages_before: u64, highest_unix_ns: u64) -> Result<(), Misfit> {
        if !self.has_begun {
            return Err("a batch comes before the segment's begin");
        }
        if end <= self.end || end > memlane_ring::layout::POSITION_END {
            return Err("a batch ends before it begins");
        }
        if messages_before > COUNT_MAX || messages_before != self.messages || highest_unix_ns < self.highest_unix_ns {
            return Err("a batch doesn't count on from the one before it");
        }
        self.highest_unix_ns = highest_unix_ns;
        Ok(())
    }

    fn take_name(&mut self, place: u32, part: u8, text: &[u8]) -> Result<(), Misfit> {
        if part == 0 {
            self.pending.names.push((place, Vec::new()));
        }
        let name = self.pending.names.last_mut().filter(|(named, _)| *named == place);
        let (_, name) = name.ok_or("a part of a source's name has no beginning")?;
        name.extend_from_slice(text);
        if name.len() > SOURCE_NAME_BYTES_MAX { Err("a source's name is too long") } else { Ok(()) }
    }

    /// What was pending counts.
    fn settle(&mut self) -> Result<(), Misfit> {
        self.pending.block = false;
        for (place, name) in std::mem::take(&mut self.pending.names) {
            if place as usize != self.sources.len() {
                return Err("a source has another place than the next");
            }
            let name = String::from_utf8(name).map_err(|_| "a source's name isn't text")?;
            if name.is_empty() {
                return Err("a source's name is empty");
            }
            self.sources.push(SourceStanding { name, sequence: 0 });
        }
        for (place, sequence) in std::mem::take(&mut self.pending.moved) {
            let source = self.sources.get_mut(place as usize).ok_or("a source moved that has no name")?;
            source.sequence = source.sequence.max(sequence);
        }
        Ok(())
    }
}
