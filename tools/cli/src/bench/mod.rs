//! `memlane bench`: memlane beside the machine's own limits, in the same minute, on the same two cores.
//!
//! Read in this order:
//!
//! 1. [`machine`]: the two cores, the peer process, how the machine is described;
//! 2. [`lane`]: what a thing that is measured looks like, and how its two sides wait for each other;
//! 3. [`mod@reference`]: the limits, as lanes;
//! 4. [`exchange`]: how the two processes agree on which lane runs;
//! 5. [`rounds`]: short alternating batches with the raw handoff between them;
//! 6. [`placement`], [`latencies`], [`statistics`]: what the batches amount to;
//! 7. [`report`], [`plot`]: tables, JSON, percentile curves;
//! 8. [`open_loop`]: a lane at a fixed rate;
//! 9. [`mod@log`]: memlane, as lanes;
//! 10. [`suite`]: which lanes each `memlane bench …` measures, and which of them against which.
//!
//! ```text
//!   first core: measure()                        second core: follow()
//!   limit ─ lane 1 ─ limit ─ lane 2 ─ limit …    the other side of the same lanes
//!      └──> Rounds ──> Report ──> text, JSON, SVG
//! ```

pub mod exchange;
pub mod lane;
pub mod latencies;
pub mod log;
pub mod machine;
pub mod open_loop;
pub mod placement;
pub mod plot;
pub mod reference;
pub mod report;
pub mod rounds;
pub mod statistics;
pub mod suite;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::Path;

use lane::Lane;
use machine::{Cores, Machine, PeerCommand, Workplace};
use reference::payload::Payloads;
use reference::{References, RingSize};
use report::{Report, Subject};
use rounds::Settings;
use statistics::Beside;

/// Measures the references alone. `peer` says how to start the process that calls [`references_peer`] with
/// the directory that it is given.
///
/// # Errors
/// If the machine has one core only, or the two processes can't work together.
pub fn references(settings: &Settings, peer: impl FnOnce(&Path) -> PeerCommand) -> anyhow::Result<Report> {
    let machine = Machine::describe();
    let cores = Cores::choose()?;
    let workplace = Workplace::new()?;
    let directory = workplace.path();
    let lanes = reference_lanes(&mut References::create(directory, REFERENCE_PAYLOAD_MAX)?);
    let subjects = reference_subjects(&lanes);
    let rounds =
        rounds::measure(directory, cores, &peer(directory), lanes, settings, &mut |_| ControlFlow::Continue(()))?;
    Ok(Report::new("references", machine, cores, settings, &rounds, &subjects))
}

/// The other process of [`references`].
///
/// # Errors
/// As [`exchange::follow`].
pub fn references_peer(directory: &Path) -> anyhow::Result<()> {
    exchange::follow(directory, || Ok(reference_lanes(&mut References::open(directory)?)))
}

/// The longest payload of [`references`].
const REFERENCE_PAYLOAD_MAX: usize = 1024;

// Numbers of the reference lanes, by their order in `reference_lanes`.
const WITH_PAUSE: usize = 1;
const BY_HOP: usize = 2;
const BY_HOP_WITH_PAUSE: usize = 3;
const FIRST_RING: usize = 4;
const WAKE: usize = 8;

fn reference_lanes(references: &mut References) -> Vec<Box<dyn Lane>> {
    vec![
        references.handoff(),
        references.handoff_with_pause(),
        references.handoff_by_hop(),
        references.handoff_by_hop_with_pause(),
        references.ring(RingSize::OneMib, Payloads::<64>::default()),
        references.ring(RingSize::FourMib, Payloads::<64>::default()),
        references.ring(RingSize::OneMib, Payloads::<1024>::default()),
        references.ring(RingSize::FourMib, Payloads::<1024>::default()),
        references.futex_wake(),
    ]
}

fn reference_subjects(lanes: &[Box<dyn Lane>]) -> Vec<Subject> {
    let subject = |lane: usize| Subject::new(&lanes[lane].name(), lane);
    let mut subjects = vec![
        subject(WITH_PAUSE).against(Beside::Limit),
        subject(BY_HOP).against(Beside::Limit).with_latencies(BY_HOP, None),
        subject(BY_HOP_WITH_PAUSE).against(Beside::Limit).with_latencies(BY_HOP_WITH_PAUSE, Some(BY_HOP)),
    ];
    subjects.extend((FIRST_RING..WAKE).map(subject));
    subjects.push(subject(WAKE).against(Beside::Limit).with_latencies(WAKE, None));
    subjects
}
