//! `memlane bench request`: a call and its reply beside a message there and one back.

use super::{Plan, Task};
use crate::bench::log::request::Calls;
use crate::bench::log::round_trip::{RoundTrips, Words};
use crate::bench::log::{CAPACITY_BYTES, TopicShape};
use crate::bench::report::{Headline, Subject};
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOAD: usize = 64;

/// The size of a connection's rings.
const SMALL_CAPACITY_BYTES: u64 = 1 << 16;

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    match task.payload.unwrap_or(USUAL_PAYLOAD) {
        16 => add::<2>(plan),
        32 => add::<4>(plan),
        48 => add::<6>(plan),
        64 => add::<8>(plan),
        128 => add::<16>(plan),
        256 => add::<32>(plan),
        512 => add::<64>(plan),
        1024 => add::<128>(plan),
        bytes => anyhow::bail!("can't measure calls of {bytes} bytes: choose 16, 32, 48, 64, 128, 256, 512 or 1024"),
    }
}

fn add<const WORDS: usize>(plan: &mut Plan) -> anyhow::Result<()> {
    let [small, usual] = [SMALL_CAPACITY_BYTES, CAPACITY_BYTES].map(|capacity| TopicShape::one(capacity, 64));
    // The topics that a service would use.
    let raw = RoundTrips::new(&mut plan.stage, small, Words::<WORDS>)?;
    let raw = plan.lane(Box::new(raw));
    let by_hop = RoundTrips::new(&mut plan.stage, small, Words::<WORDS>)?.by_hop();
    let by_hop = plan.lane(Box::new(by_hop));
    let large = RoundTrips::new(&mut plan.stage, usual, Words::<WORDS>)?;
    let large = plan.lane(Box::new(large));
    let calls = Calls::<WORDS>::new(&plan.stage, "calls")?;
    let calls = plan.lane(Box::new(calls));
    let by_call = Calls::<WORDS>::new(&plan.stage, "timed")?.by_call();
    let by_call = plan.lane(Box::new(by_call));
    let name = |plan: &Plan, lane: usize| plan.lanes[lane].name();
    let hops = format!("{}, 64 KiB ring", name(plan, raw));
    plan.subject(Subject::new(&hops, raw).against(Beside::Limit).with_latencies(by_hop, None));
    let hops = format!("{}, 4 MiB ring", name(plan, large));
    plan.subject(Subject::new(&hops, large).against(Beside::Lane(raw)));
    let subject = Subject::new(&name(plan, calls), calls);
    let row = plan.subject(subject.against(Beside::Lane(raw)).with_latencies(by_call, Some(by_hop)));
    plan.about(row, Headline::of_latency);
    plan.note(
        "Half a call beside one hop, which is half a round trip: a call and its reply over a connection, beside a message there and one \
         back over two topics for one publisher each with rings of the same size, all busy-spinning; every payload is written and read whole. \
         The ratio is that of a call to two one-way hops in the same run.",
    );
    Ok(())
}
