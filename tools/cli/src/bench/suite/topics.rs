//! `memlane bench topics`: one busy topic among many idle ones, all waited for by one blocked selector.

use std::time::Duration;

use super::{Plan, Task};
use crate::bench::log::wake::{self, Wake, idle_percent_of_selector};
use crate::bench::log::{CAPACITY_BYTES, Side, TopicShape};
use crate::bench::report::{Headline, Subject};
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOAD: usize = 64;
/// How many topics are idle, lane by lane.
const IDLE_TOPICS: [usize; 4] = [1, 10, 100, 1_000];
/// How long a selector over all of them is left to sleep.
const IDLE: Duration = Duration::from_secs(1);

const SHAPE: TopicShape = TopicShape::one(CAPACITY_BYTES, 64);

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let payload = task.payload.unwrap_or(USUAL_PAYLOAD);
    let blocked = |plan: &mut Plan| {
        let region = plan.references.take(wake::BYTES);
        Wake::new(&mut plan.stage, SHAPE.with_room_for(payload), payload, region)
    };
    let alone = blocked(plan)?;
    let alone = plan.lane(Box::new(alone));
    plan.subject(Subject::new(&plan.lanes[alone].name(), alone).with_latencies(alone, None));
    for idle in IDLE_TOPICS {
        let among = blocked(plan)?.among(&plan.stage, idle)?;
        let among = plan.lane(Box::new(among));
        let subject = Subject::new(&plan.lanes[among].name(), among);
        let row = plan.subject(subject.against(Beside::Lane(alone)).with_latencies(among, Some(alone)));
        if idle == IDLE_TOPICS[IDLE_TOPICS.len() - 1] {
            plan.about(row, Headline::of_latency);
        }
    }
    if plan.stage.side() == Side::Initiator {
        let percent = idle_percent_of_selector(plan.stage.bus(), IDLE_TOPICS[IDLE_TOPICS.len() - 1], IDLE)?;
        plan.finish = Some(Box::new(move |_, headline| headline.with("idle_cpu_percent", Some(percent))));
    }
    plan.note(
        "From before the publish on one core until the sleeper runs on the other and has found which topic it was. \"of N\": a \
         selector over N topics, of which all but one are idle; the first row is a subscriber to one topic alone. At the top stands \
         that of 1,001. idle_cpu_percent: processor time of such a selector while nothing is published for a second.",
    );
    Ok(())
}
