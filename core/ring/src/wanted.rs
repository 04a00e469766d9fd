//! Reads only the frames that a subscriber wants, told by their extensions: of all others header and extensions are looked at,
//! the payload is not touched. A frame without extensions is never wanted.
//!
//! ```text
//!   position                                    wanted
//!    v                                           v
//!   [h|e|·····][h|·····][h|e|·····][h|·][h|e|···][h|e|payload]      h header   e extensions   · not touched
//! ```
//!
//! A pass over unwanted frames ends after a run of them ([`RUN_BYTES_MAX`]), so that a gated subscriber lets go of what it passed and
//! a wait looks at the clock though there always is something new. A poll ends after the capacity of the ring: what was
//! there when it began was looked at by then.
//!
//! `gated.rs` does it in place, `lossy.rs` copies out. Ordering: OBSERVE and RELEASE as in read.rs, OVERTAKEN as in the other lossy.rs.

mod gated;
mod lossy;

use crate::extension::{Fields, Malformed, Parts};
use crate::layout::{FLAG_EXTENSIONS, Geometry, StateWord};
use crate::wait::{Turns, Wait};
use std::time::Duration;

/// Most bytes of unwanted frames between two looks at the clock and, for a gated subscriber, two releases.
const RUN_BYTES_MAX: u64 = 1 << 18;

/// What a subscriber asks of each frame with extensions: whether it wants it. An error is told to it as
/// [`ReadError::Malformed`](crate::ReadError::Malformed).
pub trait Wanted: FnMut(&Fields<'_>) -> Result<bool, Malformed> {}

impl<F: FnMut(&Fields<'_>) -> Result<bool, Malformed>> Wanted for F {}

/// What a pass over unwanted frames came to.
enum Passed<T> {
    /// A frame that is wanted.
    Found(T),
    /// The end of the log.
    Nothing,
    /// The end of a run: there may be more.
    More,
}

fn run_bytes(geometry: &Geometry) -> u64 {
    // A sixteenth of the ring is little beside what publishers wait for at a time.
    RUN_BYTES_MAX.min(geometry.capacity / 16)
}

fn has_extensions(word: StateWord) -> bool {
    word.flags() & FLAG_EXTENSIONS != 0
}

/// Whether the frame with this state word and body is wanted.
#[inline(always)]
fn judge(geometry: &Geometry, word: StateWord, body: &[u8], wanted: &mut impl Wanted) -> Result<bool, Malformed> {
    wanted(&Parts::of(geometry, word, body)?.fields)
}

/// The runs of one wait.
struct Runs {
    turns: Turns,
    /// Once the time is up: the end of what is still looked at, which is what was there by then.
    last: Option<u64>,
}

impl Runs {
    fn new(wait: Wait, timeout: Option<Duration>) -> Self {
        Self { turns: Turns::new(wait, timeout), last: None }
    }

    /// After a run that ended at `position`: whether there is to be another.
    fn next(&mut self, position: u64, capacity: u64) -> bool {
        if self.last.is_none() && self.turns.is_over() {
            self.last = Some(position.saturating_add(capacity));
        }
        self.last.is_none_or(|end| position < end)
    }
}
