//! `memlane bench latency`: round trips beside the raw handoff, or messages at a fixed rate beside a raw ring.

use super::{Plan, Task, with_payload};
use crate::bench::log::one_way::LogWay;
use crate::bench::log::round_trip::{Handling, RoundTrips};
use crate::bench::log::{CAPACITY_BYTES, TopicShape};
use crate::bench::open_loop::OpenLoop;
use crate::bench::report::{Headline, Subject};
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOADS: [usize; 2] = [48, 64];

const SHAPE: TopicShape = TopicShape::one(CAPACITY_BYTES, 64);

/// For messages of 1 MiB.
const LARGE_SHAPE: TopicShape = TopicShape::one(8 << 20, 64);

/// Words of a message of 1 MiB.
const LARGE_WORDS: usize = (1 << 20) / 8;

/// The payload that the large loan is held against.
const SMALL: usize = 64;

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let limit_by_hop = add_raw(plan);
    for payload in task.payloads(&USUAL_PAYLOADS) {
        let one = with_payload!(payload, add_round_trips(plan, limit_by_hop))?;
        if payload == SMALL {
            let large = RoundTrips::<LARGE_WORDS>::new(&mut plan.stage, LARGE_SHAPE, Handling::Touched)?;
            let large = plan.lane(Box::new(large));
            plan.row(large, Some(Beside::Limit));
            plan.comparisons.push((large, one));
        }
    }
    plan.note(
        "Times are of one way, half a round trip, over topics with cells of 64 bytes and busy-spinning gated subscribers; \
         every payload is written and read whole, but that of the loan, whose first 8 bytes are. Batch means are without a \
         clock read per hop; those one by one have one, as the raw handoff by hop has. \"many\": a topic for many \
         publishers with one active.",
    );
    Ok(())
}

/// The raw handoffs beside the limit; returns the one that is timed hop by hop.
fn add_raw(plan: &mut Plan) -> usize {
    let with_pause = plan.references.handoff_with_pause();
    let with_pause = plan.lane(with_pause);
    let by_hop = plan.references.handoff_by_hop();
    let by_hop = plan.lane(by_hop);
    let by_hop_with_pause = plan.references.handoff_by_hop_with_pause();
    let by_hop_with_pause = plan.lane(by_hop_with_pause);
    plan.row(with_pause, Some(Beside::Limit));
    let name = |lane: usize| plan.lanes[lane].name();
    let plain = Subject::new(&name(by_hop), by_hop).against(Beside::Limit).with_latencies(by_hop, None);
    let paused = Subject::new(&name(by_hop_with_pause), by_hop_with_pause)
        .against(Beside::Limit)
        .with_latencies(by_hop_with_pause, Some(by_hop));
    plan.subject(plain);
    plan.subject(paused);
    by_hop
}

/// Round trips with one publisher and with many, each with its latencies hop by hop; returns the lane of the first.
fn add_round_trips<const BYTES: usize, const WORDS: usize>(
    plan: &mut Plan,
    limit_by_hop: usize,
) -> anyhow::Result<usize> {
    let mut lanes = [0; 2];
    for (index, shape) in [SHAPE, SHAPE.many()].into_iter().enumerate() {
        let timed = RoundTrips::<WORDS>::new(&mut plan.stage, shape, Handling::Whole)?;
        let timed = plan.lane(Box::new(timed));
        let by_hop = RoundTrips::<WORDS>::new(&mut plan.stage, shape, Handling::Whole)?.by_hop();
        let by_hop = plan.lane(Box::new(by_hop));
        let subject = Subject::new(&plan.lanes[timed].name(), timed);
        let row = plan.subject(subject.against(Beside::Limit).with_latencies(by_hop, Some(limit_by_hop)));
        plan.about(row, Headline::of_latency);
        lanes[index] = timed;
    }
    let [one, many] = lanes;
    plan.comparisons.push((many, one));
    Ok(one)
}

pub(super) fn prepare_open_loop(plan: &mut Plan, task: &Task, rate: f64) -> anyhow::Result<()> {
    let raw = plan.references.open_loop_of_64_bytes(rate);
    let raw = plan.lane(raw);
    let subject = Subject::new(&plan.lanes[raw].name(), raw);
    plan.subject(subject.with_latencies(raw, None));
    for payload in task.payloads(&USUAL_PAYLOADS) {
        with_payload!(payload, add_open_loop(plan, raw, rate))?;
    }
    plan.note(
        "Messages one way at a fixed rate. Each latency counts from when its message was due by the schedule, so a stall \
         counts for all messages that it delayed. Ratios are against the raw ring of 64 bytes at the same rate.",
    );
    Ok(())
}

fn add_open_loop<const BYTES: usize, const WORDS: usize>(plan: &mut Plan, raw: usize, rate: f64) -> anyhow::Result<()> {
    let way = LogWay::<BYTES>::new(&mut plan.stage, SHAPE)?;
    let lane = plan.lane(Box::new(OpenLoop::new(way, rate)));
    let subject = Subject::new(&plan.lanes[lane].name(), lane);
    let row = plan.subject(subject.against(Beside::Lane(raw)).with_latencies(lane, Some(raw)));
    plan.about(row, Headline::of_latency);
    Ok(())
}
