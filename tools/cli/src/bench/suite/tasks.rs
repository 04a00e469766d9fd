//! `memlane bench async`: a task that waits for a message beside a thread that does, and the limits of both.

use super::{Plan, Task};
use crate::bench::lane::Lane;
use crate::bench::log::wake::{self, Executor, Wake};
use crate::bench::log::{CAPACITY_BYTES, TopicShape};
use crate::bench::report::{Headline, Subject};
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOAD: usize = 64;

const SHAPE: TopicShape = TopicShape::one(CAPACITY_BYTES, 64);

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let payload = task.payload.unwrap_or(USUAL_PAYLOAD);
    let wake = |plan: &mut Plan| {
        let region = plan.references.take(wake::BYTES);
        Wake::new(&mut plan.stage, SHAPE.with_room_for(payload), payload, region)
    };
    let thread = wake(plan)?;
    let thread = plan.lane(Box::new(thread));
    plan.subject(Subject::new(&plan.lanes[thread].name(), thread).with_latencies(thread, None));
    let beside_thread = |plan: &mut Plan, lane: Box<dyn Lane>| {
        let lane = plan.lane(lane);
        let subject = Subject::new(&plan.lanes[lane].name(), lane);
        plan.subject(subject.against(Beside::Lane(thread)).with_latencies(lane, Some(thread)))
    };
    let own = wake(plan)?.in_a_task(Executor::memlane()?);
    let own = beside_thread(plan, Box::new(own));
    plan.about(own, Headline::of_latency);
    let in_tokio = wake(plan)?.in_a_task(Executor::tokio()?);
    beside_thread(plan, Box::new(in_tokio));
    for bare in [plan.references.futex_wake(), plan.references.futex_wake_by_two()] {
        beside_thread(plan, bare);
    }
    plan.note(
        "From before the publish on one core until the message is received on the other: by a blocked thread (the first row, beside \
         which the others are), by a task in memlane::block_on, by a task of a tokio runtime with one thread, which the thread \
         that waits for all tasks of a process wakes from the same core. The limits without memlane: a futex wake, and two, the second of \
         which wakes a thread on the core of the first.",
    );
    Ok(())
}
