//! `memlane bench throughput`: streams one way, every byte read and nothing lost, beside raw rings.

use super::{Plan, RawRings, STREAMS_NOTE, Task, USUAL_BATCH, with_payload};
use crate::bench::log::stream::Stream;
use crate::bench::log::{CAPACITY_BYTES, TopicShape};
use crate::bench::reference::payload::Messages;
use crate::bench::report::Headline;
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOADS: [usize; 2] = [64, 1024];

/// The cell of a topic unless something else is asked for.
const USUAL_CELL_BYTES: u64 = 64;

/// The topic in which messages of `payload` bytes lie most densely: cells are smaller where that makes a difference.
pub(super) fn shape(payload: usize) -> TopicShape {
    const FRAME_HEADER_BYTES: usize = 8;
    const SMALL_CELL_BYTES: u64 = 32;
    let padded = |cell: u64| ((payload + FRAME_HEADER_BYTES) as u64).next_multiple_of(cell);
    let is_denser = payload < 1024 && padded(SMALL_CELL_BYTES) < padded(USUAL_CELL_BYTES);
    let cell_bytes = if is_denser { SMALL_CELL_BYTES } else { USUAL_CELL_BYTES };
    TopicShape::one(CAPACITY_BYTES, cell_bytes).with_room_for(payload)
}

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let mut first = None;
    for payload in task.payloads(&USUAL_PAYLOADS) {
        let streams = with_payload!(payload, add_all(plan, shape(payload), task))?;
        first.get_or_insert(streams);
    }
    if let Some(streams) = first {
        finish(plan, streams);
    }
    plan.note(STREAMS_NOTE);
    Ok(())
}

/// The streams over one topic shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    one_by_one: usize,
    /// The one that was asked for: in batches if a size was given.
    wanted: usize,
    rings: RawRings,
}

/// Adds raw rings, and streams beside them: one by one, in batches, and one by one in cells of the usual size.
fn add_all<M: Messages + 'static>(
    messages: M,
    plan: &mut Plan,
    shape: TopicShape,
    task: &Task,
) -> anyhow::Result<Streams> {
    let streams = add(messages.clone(), plan, shape, task)?;
    if shape.cell_bytes != USUAL_CELL_BYTES {
        let usual = TopicShape { cell_bytes: USUAL_CELL_BYTES, ..shape };
        add_stream(messages, plan, usual, 1, streams.rings)?;
    }
    Ok(streams)
}

/// Adds raw rings, and streams one by one and in batches beside them.
pub(super) fn add<M: Messages + 'static>(
    messages: M,
    plan: &mut Plan,
    shape: TopicShape,
    task: &Task,
) -> anyhow::Result<Streams> {
    let rings = RawRings::add(messages.clone(), plan);
    let (one_by_one, one_row) = add_stream(messages.clone(), plan, shape, 1, rings)?;
    let batch = task.batch.unwrap_or(USUAL_BATCH);
    let in_batches = if batch > 1 { Some(add_stream(messages, plan, shape, batch, rings)?) } else { None };
    let (wanted, row) = in_batches.filter(|_| task.batch.is_some()).unwrap_or((one_by_one, one_row));
    plan.about(row, Headline::of_throughput);
    Ok(Streams { one_by_one, wanted, rings })
}

/// Adds the ratios to the other rings to the headline, and of batches to one by one.
pub(super) fn finish(plan: &mut Plan, streams: Streams) {
    let Streams { one_by_one, wanted, rings } = streams;
    let name = |lane: usize| plan.lanes[lane].name();
    let (own, same_size, patient) = (name(wanted), name(rings.four_mib), name(rings.four_mib_patient));
    let one_by_one = (wanted != one_by_one).then(|| name(one_by_one));
    if one_by_one.is_some() {
        plan.comparisons.push((wanted, streams.one_by_one));
    }
    plan.finish = Some(Box::new(move |report, headline| {
        let headline = headline
            .with("ratio_to_ring_of_own_size", report.comparison(&own, &same_size))
            .with("ratio_to_patient_ring", report.comparison(&own, &patient));
        match &one_by_one {
            Some(one) => headline.with("ratio_batches_to_one_by_one", report.comparison(&own, one)),
            None => headline,
        }
    }));
}

/// Adds a stream in batches of `batch`; returns its lane and its row.
fn add_stream<M: Messages + 'static>(
    messages: M,
    plan: &mut Plan,
    shape: TopicShape,
    batch: usize,
    rings: RawRings,
) -> anyhow::Result<(usize, usize)> {
    let stream = Stream::new(&mut plan.stage, shape, batch, messages)?;
    let lane = plan.lane(Box::new(stream));
    let row = plan.row(lane, Some(Beside::Lane(rings.one_mib)));
    rings.compare(plan, lane);
    Ok((lane, row))
}
