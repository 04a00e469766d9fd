//! `memlane bench async`: a task that waits for a message beside a thread that does.

use super::{Plan, Task};
use crate::bench::log::wake::{self, Wake};
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
    let task = wake(plan)?.in_a_task()?;
    let task = plan.lane(Box::new(task));
    let subject = Subject::new(&plan.lanes[task].name(), task);
    let row = plan.subject(subject.against(Beside::Lane(thread)).with_latencies(task, Some(thread)));
    plan.about(row, Headline::of_latency);
    plan.note(
        "From before the publish on one core until the message is received on the other, by a blocked thread or by a task of a tokio runtime \
         with one thread. The thread that waits for all tasks of the process runs on the same core as the runtime.",
    );
    Ok(())
}
