//! A transform of one topic into another.

use super::{Prompt, say, say_ready};
use crate::role::{Place, Report};
use memlane::Transform;
use memlane::journal::{Disk, Journal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How many outputs are made of the input with this number.
#[must_use]
pub fn outputs_of(number: u64) -> u64 {
    number * 7 % 5
}

/// Makes outputs, each its input's number and its own among them, until told to stop; answers with the position that it has come to.
pub(super) fn play(input: &Place, output: &Place, directory: Option<&Path>) -> anyhow::Result<()> {
    let (from, to) = (input.open()?, output.open()?);
    let journal = directory.map(|directory| Journal::open(Arc::new(Disk), directory)).transpose()?;
    let mut builder = Transform::<[u8], [u8]>::builder(&from, &to, "transform");
    if let Some(journal) = &journal {
        builder = builder.journal(journal);
    }
    let mut transform = builder.open()?;
    let prompt = Prompt::listen();
    say_ready()?;
    while !prompt.says_stop() {
        transform.turn(Duration::from_millis(10), |input, outputs| {
            let number = u64::from_le_bytes(*input.view.first_chunk().ok_or("it has no number")?);
            for index in 0..outputs_of(number) {
                // Lengths differ, so that laps end everywhere.
                let mut payload = vec![7; 16 + (number + index) as usize % 7 * 90];
                payload[..8].copy_from_slice(&number.to_le_bytes());
                payload[8..16].copy_from_slice(&index.to_le_bytes());
                outputs.publish(&payload)?;
            }
            Ok(())
        })?;
    }
    say(&Report::Answer(Ok(transform.position())))
}
