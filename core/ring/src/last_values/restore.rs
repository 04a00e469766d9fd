//! A table that begins with messages of before: those of a topic that goes on where it was.

use super::Table;
use super::layout::Places;
use crate::error::TopicError;
use crate::extension::Parts;
use crate::header::Header;
use crate::layout::Geometry;
use crate::origin::{LastMessage, Origin};
use memlane_shm::sync::{Ordering, Region, WORD_BYTES};

impl Table {
    /// Fills `region`, a file of zeros that nobody else sees yet, with what `origin` says. Stamps are put right for the clock of `header`.
    pub(crate) fn restore(
        region: &Region,
        places: Places,
        header: &Header,
        geometry: &Geometry,
        origin: &Origin<'_>,
    ) -> Result<(), TopicError> {
        let table = Self { region: region.clone(), places };
        for message in origin.last {
            let restored = table.restore_one(header, geometry, message);
            restored.ok_or(TopicError::BadOption {
                option: "the position of a last message",
                value: message.position,
                reason: "a message has a key, is no longer than the table allows, and finds room in it",
            })?;
        }
        table.folded().store(origin.position, Ordering::Relaxed);
        Ok(())
    }

    fn restore_one(&self, header: &Header, geometry: &Geometry, message: &LastMessage<'_>) -> Option<()> {
        let LastMessage { position, unix_ns, word, body } = *message;
        let fits = word.length() == body.len() as u64 && word.length() <= self.places.body_max;
        let key = fits.then(|| Parts::of(geometry, word, body)).and_then(Result::ok)?.fields.key().ok().flatten()?;
        (key.len() as u64 <= self.places.key_bytes_max).then_some(())?;
        self.register(key).ok()?;
        let number = self.find(key).ok()?.ok()?;
        self.position(number).store(position + 1, Ordering::Relaxed);
        self.state(number).store(word.0, Ordering::Relaxed);
        let at = self.places.body_at(number);
        self.region.copy_in(at, body);
        if geometry.stamps {
            debug_assert!(at.is_multiple_of(WORD_BYTES), "a stamp is a word");
            self.region.word(at).store(header.calibration.ticks(unix_ns), Ordering::Relaxed);
        }
        Some(())
    }
}
