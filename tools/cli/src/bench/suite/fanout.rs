//! `memlane bench fanout`: what a publish costs with more and more subscribers.

use super::{Plan, Task, with_payload};
use crate::bench::log::TopicShape;
use crate::bench::log::fanout::{self, Fanout};
use crate::bench::log::sleepers::{self, Sleepers};
use crate::bench::reference::payload::Messages;
use crate::bench::report::Subject;
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOAD: usize = 48;

/// How many subscribers there are, lane by lane.
const SUBSCRIBERS: [usize; 4] = [0, 1, 8, 64];

/// How many sleep.
const SLEEPERS: usize = 64;

/// Small enough that 64 subscribers read it all between two batches.
const SHAPE: TopicShape = TopicShape::one(1 << 20, 64);

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    with_payload!(task.payload.unwrap_or(USUAL_PAYLOAD), add(plan, task.batch()))
}

fn add<M: Messages + 'static>(messages: M, plan: &mut Plan, batch: usize) -> anyhow::Result<()> {
    let shape = SHAPE.with_room_for(messages.bytes());
    let mut lanes = [0; SUBSCRIBERS.len()];
    for (lane, subscribers) in lanes.iter_mut().zip(SUBSCRIBERS) {
        let region = plan.references.take(fanout::BYTES);
        let fanout = Fanout::new(&mut plan.stage, shape, subscribers, region, messages.clone(), batch)?;
        *lane = plan.lane(Box::new(fanout));
    }
    let [none, one, eight, many] = lanes;
    let region = plan.references.take(sleepers::BYTES);
    let asleep = Sleepers::new(&mut plan.stage, shape, SLEEPERS, region, messages, batch)?;
    let asleep = plan.lane(Box::new(asleep));
    plan.row(one, None);
    for lane in [none, eight, many] {
        plan.row(lane, Some(Beside::Lane(one)));
    }
    let subject = Subject::new(&plan.lanes[asleep].name(), asleep);
    plan.subject(subject.against(Beside::Lane(one)).with_latencies(asleep, None));
    plan.comparisons.extend([(many, one), (asleep, one)]);
    let name = |lane: usize| plan.lanes[lane].name();
    let (one, many, asleep) = (name(one), name(many), name(asleep));
    plan.finish = Some(Box::new(move |report, headline| {
        headline
            .with("ratio_64_to_1", report.comparison(&many, &one))
            .with("ratio_64_asleep_to_1", report.comparison(&asleep, &one))
    }));
    plan.note(
        "Time of a publish, in bursts that fill up to half a ring of 1 MiB. The gated subscribers, all in one process on the \
         other core, receive each burst after it was timed; ratios are to one such subscriber. Those asleep are blocked \
         threads: one message wakes all of them (its publish is what stands under \"one by one\"), then the burst is \
         timed while they wake up. \"×N\": published in batches of N messages; the time is of one message all the same.",
    );
    Ok(())
}
