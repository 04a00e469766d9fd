//! `memlane bench wake`: a blocked subscriber's wake-up beside that of a bare futex, and its cost while it sleeps.

use std::time::Duration;

use super::{Plan, Task};
use crate::bench::log::wake::{self, Wake, idle_percent};
use crate::bench::log::{CAPACITY_BYTES, Side, TopicShape};
use crate::bench::report::{Headline, Subject};
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOAD: usize = 64;

/// How long a subscriber is left to sleep.
const IDLE: Duration = Duration::from_secs(1);

const SHAPE: TopicShape = TopicShape::one(CAPACITY_BYTES, 64);

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let bare = plan.references.futex_wake();
    let bare = plan.lane(bare);
    let subject = Subject::new(&plan.lanes[bare].name(), bare);
    plan.subject(subject.with_latencies(bare, None));
    let region = plan.references.take(wake::BYTES);
    let payload = task.payload.unwrap_or(USUAL_PAYLOAD);
    let own = Wake::new(&mut plan.stage, SHAPE.with_room_for(payload), payload, region)?;
    let own = plan.lane(Box::new(own));
    let subject = Subject::new(&plan.lanes[own].name(), own);
    let row = plan.subject(subject.against(Beside::Lane(bare)).with_latencies(own, Some(bare)));
    plan.about(row, Headline::of_latency);
    if plan.stage.side() == Side::Initiator {
        let percent = idle_percent(plan.stage.bus(), IDLE)?;
        plan.finish = Some(Box::new(move |_, headline| headline.with("idle_cpu_percent", Some(percent))));
    }
    plan.note(
        "From before the publish (or the bare wake) on one core until the sleeper runs on the other, which has slept for at \
         least 0.2 ms. idle_cpu_percent: processor time of a subscriber that is blocked for a second while nothing is \
         published.",
    );
    Ok(())
}
