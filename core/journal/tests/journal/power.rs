//! Losses of power: from a recorded sequence of writes and syncs, every state that one may leave opens, holds all that was said to be durable, and
//! nothing that was never written; and so do the states of a second one during the recovery from the first.

use crate::log::{DIRECTORY, Log, Published, calibration, journal, open, options, read, subject};
use memlane_journal::record::GapReason;
use memlane_journal::simulated::{SimulatedDisk, Survives};
use memlane_journal::storage::Storage;
use memlane_journal::{Compaction, Compression, From, JournalError, Recovery, Retention, Writer, WriterOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// A workload that was run once, and what was durable after each of its steps.
struct Run {
    disk: SimulatedDisk,
    log: Log,
    /// From this step on everything before that position was known to be durable.
    durable: Vec<(usize, u64)>,
}

impl Run {
    /// Some segments' worth, with syncs now and then, a writer that goes and comes, and a gap.
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let mut log = Log::new(seed);
        let mut durable = vec![(0, 0)];
        let (mut writer, _) = open(&storage, directory()).unwrap();
        for round in 0..60 {
            let messages = 1 + log.below(12) as usize;
            let run = log.run(messages);
            run.append_with(&mut writer, &[("feed", round + 1)]).unwrap();
            if round == 33 {
                let (from, before) = (log.end, log.published.len());
                log.run(3);
                log.published.truncate(before);
                assert!(log.end > from);
                writer.gap(log.end, GapReason::Failed).unwrap();
            }
            if log.below(3) == 0 {
                writer.sync().unwrap();
                durable.push((disk.steps(), writer.synced()));
            }
            if round == 40 || round == 50 {
                drop(writer);
                journal(&storage, directory()).unwrap().compress(Compression { level: 1 }).unwrap();
                (writer, _) = open(&storage, directory()).unwrap();
            }
        }
        Self { disk, log, durable }
    }

    fn durable_at(&self, step: usize) -> u64 {
        self.durable.iter().take_while(|(from, _)| *from <= step).last().unwrap().1
    }

    /// What was published before `end`.
    fn published_before(&self, end: u64) -> &[Published] {
        let count = self.log.published.partition_point(|message| message.position < end);
        &self.log.published[..count]
    }

    /// Opens the journal on `disk`, which lost power after `step`, checks what it holds, and goes on with it. Gives the disk.
    fn check(&self, disk: SimulatedDisk, step: usize, what: &str) -> SimulatedDisk {
        let durable = self.durable_at(step);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let (mut writer, recovery) = opened(&storage).unwrap_or_else(|error| panic!("{what}: {error}"));
        let end = writer.end();
        assert!(end >= durable, "{what}: {end}, though {durable} was durable: {recovery:?}");
        assert_eq!(end, recovery.end, "{what}");
        let found = journal(&storage, directory()).unwrap();
        assert!(
            read(&found, From::Earliest).unwrap() == self.published_before(end),
            "{what}: what is there was published"
        );
        let report = found.verify().unwrap();
        assert!(report.findings.is_empty(), "{what}: {report:?}");
        // And on, with something else than before.
        let mut other = Log::from(end, 99);
        other.run(3).append_to(&mut writer).unwrap();
        writer.sync().unwrap();
        let all = read(&journal(&storage, directory()).unwrap(), From::Earliest).unwrap();
        assert_eq!(all.len(), self.published_before(end).len() + other.published.len(), "{what}");
        assert!(all.ends_with(&other.published), "{what}");
        disk
    }
}

fn opened(storage: &Arc<dyn Storage>) -> Result<(Writer, Recovery), JournalError> {
    open(storage, directory())
}

#[test]
fn every_loss_of_power_leaves_what_was_durable_and_nothing_torn() {
    let run = Run::new(21);
    let steps = run.disk.steps();
    let mut states = 0;
    for step in 0..=steps {
        let disk = run.disk.at(step);
        let mut losses = vec![Survives::Nothing, Survives::All];
        // The last few steps are those that aren't synced, most often.
        let first = step.saturating_sub(8);
        for other in first..step {
            losses.extend([Survives::Before(other), Survives::AllBut(other)]);
            losses.extend((0..3).map(|sectors| Survives::Torn(other, sectors)));
        }
        losses.extend((0..5).map(|seed| Survives::Some((step * 100 + seed) as u64)));
        for loss in losses {
            states += 1;
            run.check(disk.lose_power(loss), step, &format!("step {step} of {steps}, {loss:?}"));
        }
    }
    println!("{states} states of {steps} steps");
    assert!(states > 5_000 && steps > 150, "{states} states of {steps} steps");
}

#[test]
fn power_lost_again_while_recovering_leaves_no_less() {
    let run = Run::new(4);
    let mut states = 0;
    for step in (0..=run.disk.steps()).step_by(7) {
        for seed in 0..3 {
            let lost = run.disk.at(step).lose_power(Survives::Some((step * 10 + seed) as u64));
            let what = format!("step {step}, seed {seed}");
            let storage: Arc<dyn Storage> = Arc::new(lost.clone());
            let end = opened(&storage).unwrap_or_else(|error| panic!("{what}: {error}")).0.end();
            for again in 0..=lost.steps() {
                for loss in [Survives::Nothing, Survives::All, Survives::Some((again * 31 + seed) as u64)] {
                    states += 1;
                    let twice = lost.at(again).lose_power(loss);
                    let what = format!("{what}, then step {again}, {loss:?}");
                    let storage: Arc<dyn Storage> = Arc::new(twice.clone());
                    run.check(twice, step, &what);
                    // What the first recovery found is the most that can be there: it was all that the disk had.
                    let found = read(&journal(&storage, directory()).unwrap(), From::Earliest).unwrap();
                    let before = found.iter().filter(|message| message.position < end).count();
                    assert_eq!(before, run.published_before(end).len(), "{what}: no less than at first");
                }
            }
        }
    }
    println!("{states} states");
    assert!(states > 1_000, "{states}");
}

#[test]
fn a_process_that_dies_at_any_step_loses_nothing_that_it_has_appended() {
    let run = Run::new(8);
    let mut ends = Vec::new();
    for step in 0..=run.disk.steps() {
        let killed = run.disk.at(step).kill();
        let storage: Arc<dyn Storage> = Arc::new(killed);
        let (writer, _) = opened(&storage).unwrap_or_else(|error| panic!("step {step}: {error}"));
        ends.push(writer.end());
        let found = read(&journal(&storage, directory()).unwrap(), From::Earliest).unwrap();
        assert!(found == run.published_before(writer.end()), "step {step}");
    }
    assert!(ends.is_sorted(), "with each step there is no less");
    assert_eq!(ends.last(), Some(&run.log.end));
}

/// A workload with keys that is compacted now and then.
fn compacted(seed: u64) -> Run {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(seed);
    log.keys = 12;
    let mut durable = vec![(0, 0)];
    // Syncs are few, so that what takes the place of others often isn't synced yet.
    let options = WriterOptions { syncs: false, ..options() };
    let open = || Writer::open(storage.clone(), directory(), &subject(), calibration(), 0, options).unwrap().0;
    let mut writer = open();
    for round in 0..70 {
        let messages = 1 + log.below(12) as usize;
        log.run(messages).append_to(&mut writer).unwrap();
        if log.below(12) == 0 {
            writer.sync().unwrap();
            durable.push((disk.steps(), writer.synced()));
        }
        if round % 15 == 14 {
            writer.close().unwrap();
            drop(writer);
            let deletions_kept = Duration::ZERO;
            let journal = journal(&storage, directory()).unwrap();
            journal.compact(Compaction { deletions_kept }, Compression::default()).unwrap();
            writer = open();
        }
    }
    Run { disk, log, durable }
}

#[test]
fn no_loss_of_power_takes_the_last_message_of_a_key_that_was_compacted() {
    let Run { disk, log, durable } = compacted(31);
    let (steps, mut states) = (disk.steps(), 0);
    let run = Run { disk: disk.clone(), log, durable };
    for step in 0..=steps {
        let mut losses = vec![Survives::Nothing, Survives::All];
        losses.extend(
            (step.saturating_sub(6)..step).flat_map(|other| [Survives::Before(other), Survives::AllBut(other)]),
        );
        losses.extend((0..4).map(|seed| Survives::Some((step * 100 + seed) as u64)));
        for loss in losses {
            states += 1;
            let what = format!("step {step} of {steps}, {loss:?}");
            let storage: Arc<dyn Storage> = Arc::new(disk.at(step).lose_power(loss));
            let (writer, recovery) = opened(&storage).unwrap_or_else(|error| panic!("{what}: {error}"));
            let end = writer.end();
            assert!(end >= run.durable_at(step), "{what}: {end}, {recovery:?}");
            let found = read(&journal(&storage, directory()).unwrap(), From::Earliest).unwrap();
            let published = run.published_before(end);
            assert!(found.iter().all(|message| published.contains(message)), "{what}: all of it was published");
            for message in published {
                let is_last = |key: &Vec<u8>| {
                    let last = published.iter().rfind(|other| other.key.as_ref() == Some(key));
                    last.is_some_and(|last| last.position == message.position && !last.payload.is_empty())
                };
                if message.key.as_ref().is_none_or(is_last) {
                    assert!(found.contains(message), "{what}: {} at {}", message.payload.len(), message.position);
                }
            }
        }
    }
    println!("{states} states of {steps} steps");
    assert!(states > 1_500, "{states} states of {steps} steps");
}

#[test]
fn a_journal_that_nobody_syncs_opens_after_every_loss_of_power_also_while_it_is_pruned() {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(17);
    let options = WriterOptions { syncs: false, ..options() };
    let (mut writer, _) = Writer::open(storage.clone(), directory(), &subject(), calibration(), 0, options).unwrap();
    let mut begins = vec![0];
    for round in 0..60 {
        let messages = 1 + log.below(12) as usize;
        log.run(messages).append_to(&mut writer).unwrap();
        if round % 10 == 9 {
            begins.push(writer.prune(&Retention { messages: Some(20), ..Retention::default() }).unwrap().begin);
        }
    }
    assert!(begins.iter().any(|begin| *begin > 0));
    let run = Run { disk: disk.clone(), log, durable: vec![(0, 0)] };
    for step in 0..=disk.steps() {
        let mut losses = vec![Survives::Nothing, Survives::All];
        losses.extend(
            (step.saturating_sub(4)..step).flat_map(|other| [Survives::Before(other), Survives::AllBut(other)]),
        );
        losses.extend((0..4).map(|seed| Survives::Some((step * 100 + seed) as u64)));
        for loss in losses {
            let what = format!("step {step} of {}, {loss:?}", disk.steps());
            let storage: Arc<dyn Storage> = Arc::new(disk.at(step).lose_power(loss));
            let (writer, recovery) = opened(&storage).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = read(&journal(&storage, directory()).unwrap(), From::Earliest).unwrap();
            let expected: Vec<_> = run
                .published_before(writer.end())
                .iter()
                .filter(|message| message.position >= recovery.begin)
                .collect();
            assert!(found.iter().eq(expected), "{what}");
        }
    }
}
