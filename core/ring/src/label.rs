//! Names and tags of participants, as an application gives them and tools show them.
//!
//! ```text
//!  0                                     8                            128
//!  +-------------------------------------+-----------+---------------+
//!  | checksum (32) | 0 | tags (8) | name (8) | name  | tags          |     lengths in bytes
//!  +-------------------------------------+-----------+---------------+
//! ```
//!
//! Tags are `key=value`, each ended by a line feed. The holder of a slot writes its label while tools may read it: the word is cleared first
//! and written last, and what doesn't have its checksum is no label.

use crate::layout::LABEL_BYTES;
use crate::lossy::Lossy;
use crate::read::Gated;
use memlane_shm::Region;
use memlane_shm::sync::Ordering;

/// Bytes of a name and all tags together, with two more for each tag.
pub const LABEL_TEXT_BYTES_MAX: usize = LABEL_BYTES - 8;

/// Who a participant is, for people: a name, and tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    name: String,
    tags: Vec<(String, String)>,
}

/// Why a name or a tag can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Too long together: shorten the name, or leave tags out.
    #[error(
        "a participant's name and tags take {bytes} bytes, of {LABEL_TEXT_BYTES_MAX} at most: shorten them, or leave tags out"
    )]
    TooLong {
        /// What they take.
        bytes: usize,
    },
    /// A control character, or, in a tag's key, `=`; or nothing at all.
    #[error("`{}` can't be a participant's name, or a part of a tag: it is empty, or has a control character or `=`", .text.escape_debug())]
    Text {
        /// What was given.
        text: String,
    },
}

impl Label {
    /// A label with this name and no tags.
    ///
    /// Errors: [`LabelError`].
    pub fn new(name: &str) -> Result<Self, LabelError> {
        check(name, false)?;
        Self { name: name.to_owned(), tags: Vec::new() }.fitting()
    }

    /// Adds a tag, or replaces the one of that key.
    ///
    /// Errors: [`LabelError`].
    pub fn tag(mut self, key: &str, value: &str) -> Result<Self, LabelError> {
        check(key, true)?;
        if !value.is_empty() {
            check(value, false)?;
        }
        self.tags.retain(|tag| tag.0 != key);
        self.tags.push((key.to_owned(), value.to_owned()));
        self.fitting()
    }

    /// The name; empty if none was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tags, as keys and values, in the order in which they were given.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(key, value)| (&key[..], &value[..]))
    }

    fn fitting(self) -> Result<Self, LabelError> {
        let bytes = self.name.len() + self.tags_text().len();
        if bytes <= LABEL_TEXT_BYTES_MAX { Ok(self) } else { Err(LabelError::TooLong { bytes }) }
    }

    fn tags_text(&self) -> String {
        self.tags.iter().flat_map(|(key, value)| [&key[..], "=", &value[..], "\n"]).collect()
    }

    /// Writes it where the holder of a slot has its label.
    pub(crate) fn write(&self, region: &Region, at: usize) {
        clear(region, at);
        let tags = self.tags_text();
        let text = [self.name.as_bytes(), tags.as_bytes()].concat();
        region.copy_in(at + 8, &text);
        region.word(at).store(head(self.name.len(), tags.len(), &text), Ordering::Release);
    }

    /// Reads the one that stands there; an empty one if it is none.
    pub(crate) fn read(region: &Region, at: usize) -> Self {
        let word = region.word(at).load(Ordering::Acquire);
        let (name_bytes, tag_bytes) = (word as usize & 0xff, word as usize >> 8 & 0xff);
        let mut text = [0; LABEL_TEXT_BYTES_MAX];
        region.copy_out(at + 8, &mut text);
        let text = text.get(..name_bytes + tag_bytes);
        let label = text.filter(|text| word == head(name_bytes, tag_bytes, text)).and_then(|text| {
            let (name, tags) = core::str::from_utf8(text).ok()?.split_at_checked(name_bytes)?;
            // Whoever may write the file may have written anything, also what would clear a terminal.
            let is_foul = |letter: char| letter.is_control() && letter != '\n';
            if name.contains(char::is_control) || tags.contains(is_foul) {
                return None;
            }
            let tags = tags.split_terminator('\n').map(|tag| tag.split_once('='));
            let tags = tags.map(|tag| tag.map(|(key, value)| (key.to_owned(), value.to_owned())));
            Some(Self { name: name.to_owned(), tags: tags.collect::<Option<_>>()? })
        });
        label.unwrap_or_default()
    }
}

impl Gated {
    /// Says who it is, to whoever looks.
    ///
    /// Cost: some stores.
    pub fn set_label(&self, label: &Label) {
        label.write(&self.subs.region, self.log.geometry.subscriber_label_at(self.slot));
    }
}

impl Lossy {
    /// Says who it is, to whoever looks; `false` if it has no place to say so.
    ///
    /// Cost: some stores.
    pub fn set_label(&self, label: &Label) -> bool {
        let place = self.subs.as_ref().zip(self.observer.as_ref());
        if let Some((subs, observer)) = place {
            label.write(&subs.region, self.log.geometry.subscriber_label_at(observer.slot));
        }
        place.is_some()
    }
}

/// Takes the label of the slot's last holder away.
pub(crate) fn clear(region: &Region, at: usize) {
    // Nobody reads it in a model.
    if !cfg!(loom) {
        region.word(at).store(0, Ordering::Release);
    }
}

fn head(name_bytes: usize, tag_bytes: usize, text: &[u8]) -> u64 {
    u64::from(checksum(text)) << 32 | (tag_bytes as u64) << 8 | name_bytes as u64
}

/// FNV-1a, 32 bits; never zero.
fn checksum(text: &[u8]) -> u32 {
    text.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)) | 1
}

fn check(text: &str, is_key: bool) -> Result<(), LabelError> {
    let wrong = text.is_empty() || text.contains(char::is_control) || is_key && text.contains('=');
    if wrong { Err(LabelError::Text { text: text.chars().take(64).collect() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_back_and_a_torn_or_strange_one_is_none() {
        let region = Region::private(LABEL_BYTES);
        let label = Label::new("feed-handler").unwrap().tag("venue", "xnas").unwrap().tag("empty", "").unwrap();
        label.write(&region, 0);
        assert_eq!(Label::read(&region, 0), label);
        for at in 0..LABEL_BYTES / 8 {
            let word = region.word(at * 8).load(Ordering::Relaxed);
            region.word(at * 8).store(word ^ 1 << 17, Ordering::Relaxed);
            let is_told_by = (label.name.len() + label.tags_text().len()).div_ceil(8);
            assert_eq!(Label::read(&region, 0) == Label::default(), at <= is_told_by, "word {at}");
            region.word(at * 8).store(word, Ordering::Relaxed);
        }
        region.word(0).store(u64::MAX, Ordering::Relaxed);
        assert_eq!(Label::read(&region, 0), Label::default());
        // With a checksum that is right.
        let hostile = b"a\x1b[2Jb";
        region.copy_in(8, hostile);
        region.word(0).store(head(hostile.len(), 0, hostile), Ordering::Relaxed);
        assert_eq!(Label::read(&region, 0), Label::default());
    }

    #[test]
    fn names_and_tags_that_cant_be_are_refused() {
        assert!(Label::new("").is_err() && Label::new("a\nb").is_err());
        assert_eq!(Label::new(&"x".repeat(121)), Err(LabelError::TooLong { bytes: 121 }));
        let label = Label::new("a").unwrap();
        assert!(label.clone().tag("k=", "v").is_err() && label.clone().tag("k", "v\n").is_err());
        assert_eq!(label.clone().tag("k", &"v".repeat(117)), Err(LabelError::TooLong { bytes: 121 }));
        let replaced = label.tag("k", "1").unwrap().tag("k", "2").unwrap();
        assert_eq!(replaced.tags().collect::<Vec<_>>(), [("k", "2")]);
    }
}
