//! What is in a run, noted while its frames are walked over: the stamps, and how far sources got.

use crate::standing::SourceStanding;
use memlane_ring::Label;
use memlane_ring::extension::Parts;
use memlane_ring::layout::{FLAG_EXTENSIONS, Geometry, StateWord};
use memlane_shm::clock::Calibration;

/// What is in a run.
#[derive(Debug)]
pub(crate) struct Tally {
    geometry: Geometry,
    calibration: Calibration,
    /// Ticks of the first message.
    first: Option<u64>,
    /// The highest ticks.
    highest: u64,
    /// Sources seen so far, in this run and in earlier ones, whose names are so kept.
    sources: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    /// The highest sequence in this run; `None` if the source isn't in it.
    sequence: Option<u64>,
}

impl Tally {
    /// Of a topic whose journal knows `sources` already.
    pub(crate) fn new(geometry: &Geometry, calibration: Calibration, sources: &[SourceStanding]) -> Self {
        let seen = sources.iter().map(|source| Seen { name: source.name.clone(), sequence: None });
        Self { geometry: *geometry, calibration, first: None, highest: 0, sources: seen.collect() }
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        (self.first, self.highest) = (None, 0);
        self.sources.iter_mut().for_each(|source| source.sequence = None);
    }

    /// Takes in the next message.
    #[inline(always)]
    pub(crate) fn take(&mut self, word: StateWord, body: &[u8]) {
        if self.geometry.stamps
            && let Some(ticks) = body.first_chunk()
        {
            let ticks = u64::from_le_bytes(*ticks);
            self.first.get_or_insert(ticks);
            self.highest = self.highest.max(ticks);
        }
        if word.flags() & FLAG_EXTENSIONS != 0 {
            self.take_source(word, body);
        }
    }

    #[cold]
    fn take_source(&mut self, word: StateWord, body: &[u8]) {
        // What can't be read is recorded as it is; whoever reads it is told.
        let fields = Parts::of(&self.geometry, word, body).map(|parts| parts.fields);
        let Ok(Some(source)) = fields.and_then(|fields| fields.source()) else { return };
        // A topic has places for so many; who writes others into frames makes no memory of them.
        let has_place = self.sources.len() < self.geometry.sources_max() as usize;
        match self.sources.iter_mut().find(|seen| seen.name == source.name) {
            Some(seen) => seen.sequence = seen.sequence.max(Some(source.sequence)),
            None if has_place && Label::new(source.name).is_ok() => {
                let (name, sequence) = (source.name.to_owned(), Some(source.sequence));
                self.sources.push(Seen { name, sequence });
            }
            None => {}
        }
    }

    /// When the first message was published, in nanoseconds since 1970, if the topic has stamps.
    pub(crate) fn first_unix_ns(&self) -> Option<u64> {
        self.first.map(|ticks| self.calibration.unix_ns(ticks))
    }

    /// The highest such time.
    pub(crate) fn highest_unix_ns(&self) -> Option<u64> {
        self.first.map(|_| self.calibration.unix_ns(self.highest))
    }

    /// The sources that moved, with the highest sequence of each.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, u64)> {
        self.sources.iter().filter_map(|seen| Some((seen.name.as_str(), seen.sequence?)))
    }
}
