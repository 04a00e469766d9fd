//! `memlane bench latency`: round trips beside the raw handoff, or messages at a fixed rate beside a raw ring.

use super::{Plan, Task, with_payload};
use crate::bench::lane::Lane;
use crate::bench::log::one_way::LogWay;
use crate::bench::log::round_trip::{Batch, Content, LoanTouched, LoanWritten, RoundTrips, Words};
use crate::bench::log::{CAPACITY_BYTES, TopicShape};
use crate::bench::open_loop::OpenLoop;
use crate::bench::reference::payload::Messages;
use crate::bench::report::{Headline, Subject};
use crate::bench::statistics::Beside;

/// What is measured unless a payload is asked for.
const USUAL_PAYLOADS: [usize; 2] = [48, 64];

const SHAPE: TopicShape = TopicShape::one(CAPACITY_BYTES, 64);

/// What is lent and touched unless a payload is asked for.
const USUAL_LOAN: usize = 1 << 20;

/// The payload that the loan is held against.
const SMALL: usize = 64;

/// From here on what counts is the loan that was written before, since nobody copies messages so long.
const TOUCHED_FROM: usize = 64 << 10;

pub(super) fn prepare(plan: &mut Plan, task: &Task) -> anyhow::Result<()> {
    let limit_by_hop = add_raw(plan);
    let mut lanes = Lanes::default();
    for payload in task.payloads(&USUAL_PAYLOADS) {
        if task.batch() > 1 {
            let content = Batch::new(payload, task.batch());
            lanes.first(add_round_trips(plan, limit_by_hop, payload, &content)?);
        } else if payload >= TOUCHED_FROM {
            lanes.first(add_round_trips(plan, limit_by_hop, payload, &LoanTouched { bytes: payload })?);
            add_round_trips(plan, limit_by_hop, payload, &LoanWritten { bytes: payload })?;
            add_loan_beside_small(plan, &mut lanes, limit_by_hop, payload)?;
        } else {
            let pair = add_whole(plan, limit_by_hop, payload)?;
            lanes.first(pair);
            if payload == SMALL {
                lanes.small = Some(pair.0);
                add_loan_beside_small(plan, &mut lanes, limit_by_hop, USUAL_LOAN)?;
            }
        }
    }
    finish(plan, &lanes);
    plan.note(
        "Times are of one way, half a round trip, over topics with cells of 64 bytes and busy-spinning gated subscribers; \
         every payload is written and read whole, but that of a touched loan, whose first 8 bytes are. Payloads longer than \
         1 KiB are written in place, in a loan. Batch means are without a clock read per hop; those one by one have one, as \
         the raw handoff by hop has. \"many\": a topic for many publishers with one active. \"×N\": N messages are \
         published together and answered together, and times are of all N.",
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

/// The lanes that the headline is about.
#[derive(Debug, Default)]
struct Lanes {
    /// One publisher, and many of which one is active, with the first payload.
    one_and_many: Option<(usize, usize)>,
    /// One publisher with 64 bytes, and the loan beside it.
    small: Option<usize>,
    loan: Option<usize>,
}

impl Lanes {
    fn first(&mut self, one_and_many: (usize, usize)) {
        self.one_and_many.get_or_insert(one_and_many);
    }
}

/// Adds the ratios between lanes to the headline.
fn finish(plan: &mut Plan, lanes: &Lanes) {
    let name = |lane: usize| plan.lanes[lane].name();
    let one_and_many = lanes.one_and_many.map(|(one, many)| (name(one), name(many)));
    let loan_and_small = lanes.loan.zip(lanes.small).map(|(loan, small)| (name(loan), name(small)));
    plan.finish = Some(Box::new(move |report, mut headline| {
        if let Some((one, many)) = one_and_many {
            headline = headline.with("ratio_many_publishers_to_one", report.comparison(&many, &one));
        }
        if let Some((loan, small)) = loan_and_small {
            headline = headline.with("ratio_loan_to_64_bytes", report.comparison(&loan, &small));
        }
        headline
    }));
}

/// Adds what of a touched loan of `bytes` and of 64 bytes written whole is not there yet, and compares them.
fn add_loan_beside_small(plan: &mut Plan, lanes: &mut Lanes, limit_by_hop: usize, bytes: usize) -> anyhow::Result<()> {
    let small = match lanes.small {
        Some(small) => small,
        None => add_whole(plan, limit_by_hop, SMALL)?.0,
    };
    let content = LoanTouched { bytes };
    let loan = match lanes.one_and_many {
        Some((one, _)) if bytes >= TOUCHED_FROM && lanes.small.is_none() => one,
        _ => {
            let loan = RoundTrips::new(&mut plan.stage, SHAPE.with_room_for(bytes), content)?;
            let loan = plan.lane(Box::new(loan));
            plan.row(loan, Some(Beside::Limit));
            loan
        }
    };
    plan.comparisons.push((loan, small));
    (lanes.small, lanes.loan) = (Some(small), Some(loan));
    Ok(())
}

/// Round trips with `payload` bytes written and read whole: copied up to 1 KiB, else in a loan.
fn add_whole(plan: &mut Plan, limit_by_hop: usize, payload: usize) -> anyhow::Result<(usize, usize)> {
    match payload {
        16 => add_round_trips(plan, limit_by_hop, payload, &Words::<2>),
        32 => add_round_trips(plan, limit_by_hop, payload, &Words::<4>),
        48 => add_round_trips(plan, limit_by_hop, payload, &Words::<6>),
        56 => add_round_trips(plan, limit_by_hop, payload, &Words::<7>),
        64 => add_round_trips(plan, limit_by_hop, payload, &Words::<8>),
        128 => add_round_trips(plan, limit_by_hop, payload, &Words::<16>),
        256 => add_round_trips(plan, limit_by_hop, payload, &Words::<32>),
        512 => add_round_trips(plan, limit_by_hop, payload, &Words::<64>),
        1024 => add_round_trips(plan, limit_by_hop, payload, &Words::<128>),
        bytes if bytes < 1024 => add_round_trips(plan, limit_by_hop, payload, &Batch::new(bytes, 1)),
        bytes => add_round_trips(plan, limit_by_hop, payload, &LoanWritten { bytes }),
    }
}

/// Round trips with one publisher and with many, each with its latencies hop by hop; returns their lanes.
fn add_round_trips<C: Content + Clone + 'static>(
    plan: &mut Plan,
    limit_by_hop: usize,
    payload: usize,
    content: &C,
) -> anyhow::Result<(usize, usize)> {
    let mut lanes = [0; 2];
    let shape = SHAPE.with_room_for(payload);
    for (index, shape) in [shape, shape.many()].into_iter().enumerate() {
        let timed = RoundTrips::new(&mut plan.stage, shape, content.clone())?;
        let timed = plan.lane(Box::new(timed));
        let by_hop = RoundTrips::new(&mut plan.stage, shape, content.clone())?.by_hop();
        let by_hop = plan.lane(Box::new(by_hop));
        let subject = Subject::new(&plan.lanes[timed].name(), timed);
        let row = plan.subject(subject.against(Beside::Limit).with_latencies(by_hop, Some(limit_by_hop)));
        plan.about(row, Headline::of_latency);
        lanes[index] = timed;
    }
    let [one, many] = lanes;
    plan.comparisons.push((many, one));
    Ok((one, many))
}

pub(super) fn prepare_open_loop(plan: &mut Plan, task: &Task, rate: f64) -> anyhow::Result<()> {
    let raw = with_payload!(task.payload.unwrap_or(SMALL), add_raw_open_loop(plan, rate));
    let raw = plan.lane(raw);
    let subject = Subject::new(&plan.lanes[raw].name(), raw);
    plan.subject(subject.with_latencies(raw, None));
    for payload in task.payloads(&USUAL_PAYLOADS) {
        with_payload!(payload, add_open_loop(plan, raw, rate))?;
    }
    plan.note(
        "Messages one way at a fixed rate. Each latency counts from when its message was due by the schedule, so a stall \
         counts for all messages that it delayed. Ratios are against the raw ring at the same rate.",
    );
    Ok(())
}

fn add_raw_open_loop<M: Messages + 'static>(messages: M, plan: &mut Plan, rate: f64) -> Box<dyn Lane> {
    plan.references.open_loop(messages, rate)
}

fn add_open_loop<M: Messages + 'static>(messages: M, plan: &mut Plan, raw: usize, rate: f64) -> anyhow::Result<()> {
    let shape = SHAPE.with_room_for(messages.bytes());
    let way = LogWay::new(&mut plan.stage, shape, messages)?;
    let lane = plan.lane(Box::new(OpenLoop::new(way, rate)));
    let subject = Subject::new(&plan.lanes[lane].name(), lane);
    let row = plan.subject(subject.against(Beside::Lane(raw)).with_latencies(lane, Some(raw)));
    plan.about(row, Headline::of_latency);
    Ok(())
}
