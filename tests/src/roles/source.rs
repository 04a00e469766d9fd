//! A publisher with a name, that goes on where the one before it stopped.

use super::{Prompt, say, say_ready};
use crate::role::{Place, Report};
use std::time::Duration;

/// Publishes the next numbers, each as its message's payload too, until told to stop; answers with the last one.
pub(super) fn play(place: &Place, name: &str) -> anyhow::Result<()> {
    let topic = place.open()?;
    let publisher = topic.publisher::<[u8]>().stand_by(Duration::from_secs(60));
    let mut source = publisher.open_source(name)?;
    let prompt = Prompt::listen();
    say_ready()?;
    while !prompt.says_stop() {
        let next = source.last_sequence() + 1;
        // Lengths differ, so that laps end everywhere.
        let mut payload = vec![7; 8 + next as usize % 7 * 90];
        payload[..8].copy_from_slice(&next.to_le_bytes());
        source.publish_within(&payload, Duration::from_secs(30))?;
    }
    say(&Report::Answer(Ok(source.last_sequence())))
}
