//! `memlane bench throughput`: streams one way, every byte read and nothing lost, beside raw rings.

use super::{Plan, RawRings, STREAMS_NOTE, Task, with_payload};
use crate::bench::log::stream::Stream;
use crate::bench::log::{CAPACITY_BYTES, TopicShape};
use crate::bench::report::Headline;
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOADS: [usize; 2] = [64, 1024];

/// The cell of a topic unless something else is asked for.
const USUAL_CELL_BYTES: u64 = 64;

/// The cell in which messages of `payload` bytes lie most densely, if that makes a difference.
pub(super) fn cell_bytes(payload: usize) -> u64 {
    match payload {
        16 | 64 | 256 => 32,
        _ => USUAL_CELL_BYTES,
    }
}

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let mut first = None;
    for payload in task.payloads(&USUAL_PAYLOADS) {
        let rings = RawRings::add(plan, payload);
        let shape = TopicShape::one(CAPACITY_BYTES, cell_bytes(payload));
        let lane = with_payload!(payload, add(plan, shape, 1, rings))?;
        first.get_or_insert((lane, rings));
        if task.batch > 1 {
            with_payload!(payload, add(plan, shape, task.batch, rings))?;
        }
        if shape.cell_bytes != USUAL_CELL_BYTES {
            let shape = TopicShape::one(CAPACITY_BYTES, USUAL_CELL_BYTES);
            with_payload!(payload, add(plan, shape, 1, rings))?;
        }
    }
    if let Some((lane, rings)) = first {
        finish(plan, lane, rings);
    }
    plan.note(STREAMS_NOTE);
    Ok(())
}

/// Adds the ratios to the other rings to the headline.
pub(super) fn finish(plan: &mut Plan, lane: usize, rings: RawRings) {
    let name = |lane: usize| plan.lanes[lane].name();
    let (own, same_size, patient) = (name(lane), name(rings.four_mib), name(rings.four_mib_patient));
    plan.finish = Some(Box::new(move |report, headline| {
        headline
            .with("ratio_to_ring_of_own_size", report.comparison(&own, &same_size))
            .with("ratio_to_patient_ring", report.comparison(&own, &patient))
    }));
}

/// Adds a stream in batches of `batch`; returns its lane.
pub(super) fn add<const BYTES: usize, const WORDS: usize>(
    plan: &mut Plan,
    shape: TopicShape,
    batch: usize,
    rings: RawRings,
) -> anyhow::Result<usize> {
    let stream = Stream::<BYTES>::new(&mut plan.stage, shape, batch)?;
    let lane = plan.lane(Box::new(stream));
    let row = plan.row(lane, Some(Beside::Lane(rings.one_mib)));
    plan.about(row, Headline::of_throughput);
    rings.compare(plan, lane);
    Ok(lane)
}
