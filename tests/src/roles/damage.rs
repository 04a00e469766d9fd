//! Somebody with permission to write who writes nonsense: random bits and words anywhere in a topic's files.

use super::{Prompt, say, say_ready};
use crate::random::Random;
use crate::role::Report;
use memlane_ring::layout::{HEADER_BYTES, control, status, subs};
use memlane_shm::named::memory_path;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

pub(super) fn play(directory: &Path, seed: u64, prompt: &Prompt) -> anyhow::Result<()> {
    let open = |name: &str| File::options().read(true).write(true).open(memory_path(&directory.join(name))?);
    let (log, subscribers) = (open("log")?, open("subs")?);
    let mut random = Random::new(seed);
    let all = targets(&log, &subscribers)?;
    // Struck everywhere, a topic is soon past use; struck in one place, it shows what that leads to.
    let one = random.below(all.len() as u64) as usize;
    let targets = if random.below(4) == 0 { &all[..] } else { &all[one..=one] };
    say_ready()?;
    prompt.await_go();
    let mut count = 0;
    while !prompt.says_stop() {
        let (file, range) = random.one_of(targets);
        let at = (range.start + random.below(range.end - range.start)) & !7;
        // Once the topic says that it was removed, all leave, and there is nothing more to be seen.
        if at == status::REMOVED as u64 && random.below(256) > 0 {
            continue;
        }
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at)?;
        let word = worse(u64::from_le_bytes(bytes), &mut random);
        file.write_all_at(&word.to_le_bytes(), at)?;
        count += 1;
        std::thread::sleep(random.time_below(Duration::from_millis(1)));
    }
    say(&Report::Answer(Ok(count)))
}

/// Where to strike. What steers the log is struck as often as what is in it, though it is much smaller.
fn targets<'a>(log: &'a File, subscribers: &'a File) -> anyhow::Result<Vec<(&'a File, Range<u64>)>> {
    let header = HEADER_BYTES as u64;
    let (log_bytes, subs_bytes) = (log.metadata()?.len(), subscribers.metadata()?.len());
    Ok(vec![
        (log, 0..log_bytes),
        (log, header..log_bytes),
        (log, header..control::MARKS as u64),
        (log, header..control::PUBLISHERS as u64 + 1024),
        (log, control::PUBLISHERS as u64..log_bytes),
        (subscribers, 0..subs_bytes),
        (subscribers, header..subs::SLOTS as u64 + 1024),
    ])
}

/// What becomes of a word: mostly one bit changes, at times it becomes one of those that arithmetic trips over.
fn worse(word: u64, random: &mut Random) -> u64 {
    match random.below(8) {
        0 => *random.one_of(&[0, 1, u64::MAX, u64::MAX - 1, u64::MAX << 6, 1 << 63, i64::MAX as u64, u64::MAX - 4096]),
        1 => random.next_u64(),
        2 => word.wrapping_add(random.below(1 << 16)),
        _ => word ^ 1 << random.below(64),
    }
}
