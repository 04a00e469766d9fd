//! `memlane bench publishers`: topics for many publishers, with one active beside raw rings, and with two at once.

use super::throughput::{add, shape};
use super::{Plan, STREAMS_NOTE, Task, with_payload};
use crate::bench::log::rivals::{self, Rivals, Shares};
use crate::bench::reference::payload::Messages;
use crate::bench::statistics::{Beside, quantile};

/// What is measured unless a payload is asked for.
const USUAL_PAYLOADS: [usize; 2] = [64, 1024];

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let payloads = task.payloads(&USUAL_PAYLOADS);
    let mut first = None;
    for payload in payloads.iter().copied() {
        let streams = with_payload!(payload, add(plan, shape(payload).many(), task))?;
        first.get_or_insert(streams);
    }
    let (one, two, shares) = with_payload!(payloads[0], add_rivals(plan))?;
    if let Some(streams) = first {
        super::throughput::finish(plan, streams);
    }
    let before = plan.finish.take();
    plan.finish = Some(Box::new(move |report, headline| {
        let headline = before.map_or_else(|| headline.clone(), |finish| finish(report, headline.clone()));
        let shares = smaller_shares(&shares);
        headline
            .with("ratio_two_publishers_to_one", report.comparison(&two, &one))
            .with("smaller_share_p50", quantile(&shares, 0.5))
            .with("smaller_share_p10", quantile(&shares, 0.1))
    }));
    plan.note(STREAMS_NOTE);
    plan.note(
        "\"many\": a topic for up to 16 publishers, one active. Two publishers: one on each core publishes on the same \
         topic, without a subscriber, until all messages of the batch are out; the rate is that of both. Their smaller \
         share, by batch, says whether one of them was starved (0.5: both had as much).",
    );
    Ok(())
}

/// Publishers without a subscriber, one and two; returns their names and where the shares of the two will be.
fn add_rivals<M: Messages + 'static>(messages: M, plan: &mut Plan) -> anyhow::Result<(String, String, Shares)> {
    let shape = shape(messages.bytes()).many();
    let region = plan.references.take(rivals::BYTES);
    let one = Rivals::new(&mut plan.stage, shape, false, region, messages.clone())?;
    let one = plan.lane(Box::new(one));
    let region = plan.references.take(rivals::BYTES);
    let two = Rivals::new(&mut plan.stage, shape, true, region, messages)?;
    let shares = two.shares();
    let two = plan.lane(Box::new(two));
    plan.row(one, None);
    plan.row(two, Some(Beside::Lane(one)));
    plan.comparisons.push((two, one));
    Ok((plan.lanes[one].name(), plan.lanes[two].name(), shares))
}

/// The share of the one who had less, by batch, ascending.
fn smaller_shares(shares: &Shares) -> Vec<f64> {
    let mut smaller: Vec<f64> = shares.borrow().iter().map(|share| share.min(1.0 - share)).collect();
    smaller.sort_by(f64::total_cmp);
    smaller
}
