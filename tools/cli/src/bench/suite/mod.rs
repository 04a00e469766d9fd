//! Which lanes each `memlane bench …` measures, and which of them against which.
//!
//! A [`Task`] says what was asked for. Both processes make a `Plan` of it, and so the same list of lanes; the one that
//! measures turns it into a [`Report`].

mod fanout;
mod latency;
mod publishers;
mod requests;
mod tasks;
mod throughput;
mod topics;
mod wake;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exchange;
use super::lane::Lane;
use super::log::{Side, Stage};
use super::machine::{Cores, Machine, PeerCommand, Workplace};
use super::reference::payload::Messages;
use super::reference::{References, RingSize};
use super::report::{Headline, Report, Subject};
use super::rounds::{self, OnRound, Settings};
use super::statistics::{Beside, Rounds};

/// The shortest payload that can be asked for, in bytes: at a fixed rate it holds a time.
pub const PAYLOAD_BYTES_MIN: usize = 8;

/// The longest one.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Messages in a batch unless something else is asked for, where batches are measured beside one by one.
const USUAL_BATCH: usize = 64;

/// Calls a generic function with messages of so many bytes as its first argument: sizes that are usual have code of their
/// own, as an application's types have, and all others share one that learns the size when it runs.
macro_rules! with_payload {
    ($bytes:expr, $function:ident($($argument:expr),*)) => {{
        use crate::bench::reference::payload::{AnyPayloads, Payloads};
        match $bytes {
            16 => $function(Payloads::<16>::default(), $($argument),*),
            32 => $function(Payloads::<32>::default(), $($argument),*),
            48 => $function(Payloads::<48>::default(), $($argument),*),
            56 => $function(Payloads::<56>::default(), $($argument),*),
            64 => $function(Payloads::<64>::default(), $($argument),*),
            128 => $function(Payloads::<128>::default(), $($argument),*),
            256 => $function(Payloads::<256>::default(), $($argument),*),
            512 => $function(Payloads::<512>::default(), $($argument),*),
            1024 => $function(Payloads::<1024>::default(), $($argument),*),
            bytes => $function(AnyPayloads::new(bytes), $($argument),*),
        }
    }};
}
use with_payload;

/// What can't be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Too short or too long: choose another one.
    #[error("can't measure payloads of {bytes} bytes: choose from {PAYLOAD_BYTES_MIN} to {PAYLOAD_BYTES_MAX}")]
    Payload {
        /// What was asked for.
        bytes: usize,
    },
    /// One message wakes a sleeper, whatever comes with it: leave the batch out, or give 1.
    #[error("a wake-up is by one message: leave --batch out, or give 1")]
    WakeByBatch,
    /// At a fixed rate each message has a time of its own: leave one of the two out.
    #[error("at a rate, messages are published one by one: leave --batch out, or give 1")]
    RateOfBatches,
    /// So many messages of that size are no batch that a ring can hold: choose fewer or shorter ones.
    #[error("{batch} messages of {bytes} bytes are too much for a batch: 64 MiB at most")]
    BatchTooLarge {
        /// Messages in the batch.
        batch: usize,
        /// Bytes of each.
        bytes: usize,
    },
}

/// Which measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bench {
    /// One-way latency, as half a round trip.
    Latency,
    /// Messages one way, nothing lost.
    Throughput,
    /// A publish with many subscribers.
    Fanout,
    /// Topics for many publishers.
    Publishers,
    /// Waking up a blocked subscriber.
    Wake,
    /// One busy topic among many.
    Topics,
    /// A task that waits.
    Async,
    /// Request–reply.
    Request,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Fanout => "fanout",
            Self::Publishers => "publishers",
            Self::Wake => "wake",
            Self::Topics => "topics",
            Self::Async => "async",
            Self::Request => "request",
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Which measurement.
    pub bench: Bench,
    /// The payload in bytes, [`PAYLOAD_BYTES_MIN`] to [`PAYLOAD_BYTES_MAX`]; `None` for the usual ones.
    pub payload: Option<usize>,
    /// Messages that are published together, which the measurement is then about; `None` for one by one, beside which
    /// streams are measured in batches of 64 too.
    pub batch: Option<usize>,
    /// Messages a second, for latency at a fixed rate; `None` for round trips.
    pub rate: Option<f64>,
}

impl Task {
    /// The payloads to measure.
    fn payloads(&self, usual: &[usize]) -> Vec<usize> {
        self.payload.map_or_else(|| usual.to_vec(), |payload| vec![payload])
    }

    /// Messages that are published together; 1 for one by one.
    fn batch(&self) -> usize {
        self.batch.unwrap_or(1)
    }

    /// Whether this can be measured at all.
    ///
    /// # Errors
    /// [`TaskError`], if not.
    pub fn check(&self) -> Result<(), TaskError> {
        const BATCH_BYTES_MAX: usize = 64 << 20;
        let bytes = self.payload.unwrap_or(PAYLOAD_BYTES_MIN);
        if !(PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&bytes) {
            return Err(TaskError::Payload { bytes });
        }
        match (self.bench, self.batch()) {
            (_, 1) => Ok(()),
            (Bench::Wake | Bench::Topics | Bench::Async | Bench::Request, _) => Err(TaskError::WakeByBatch),
            (Bench::Latency, _) if self.rate.is_some() => Err(TaskError::RateOfBatches),
            (_, batch) if batch * bytes > BATCH_BYTES_MAX => Err(TaskError::BatchTooLarge { batch, bytes }),
            _ => Ok(()),
        }
    }

    fn prepare(&self, plan: &mut Plan) -> anyhow::Result<()> {
        match (self.bench, self.rate) {
            (Bench::Latency, Some(rate)) => latency::prepare_open_loop(plan, self, rate),
            (Bench::Latency, None) => latency::prepare(plan, self),
            (Bench::Throughput, _) => throughput::prepare(plan, self),
            (Bench::Fanout, _) => fanout::prepare(plan, self),
            (Bench::Publishers, _) => publishers::prepare(plan, self),
            (Bench::Wake, _) => wake::prepare(plan, self),
            (Bench::Topics, _) => topics::prepare(plan, self),
            (Bench::Async, _) => tasks::prepare(plan, self),
            (Bench::Request, _) => requests::prepare(plan, self),
        }
    }

    fn settings(&self, time: Duration) -> Settings {
        let settings = Settings::lasting(time);
        match self.bench {
            // A schedule needs some length; a wake-up takes 200 µs and more.
            Bench::Latency if self.rate.is_some() => Settings { batch: Duration::from_millis(20), ..settings },
            Bench::Wake | Bench::Topics | Bench::Async => Settings { batch: Duration::from_millis(10), ..settings },
            _ => settings,
        }
    }
}

/// Adds numbers to the headline that no row has.
type Finish = Box<dyn FnOnce(&Report, Headline) -> Headline>;

/// Turns the row that a measurement is about into its headline.
type HeadlineOf = fn(&super::report::Row) -> Headline;

/// The lanes of a measurement, in either process, and what the report makes of them.
struct Plan {
    references: References,
    stage: Stage,
    lanes: Vec<Box<dyn Lane>>,
    subjects: Vec<Subject>,
    comparisons: Vec<(usize, usize)>,
    notes: Vec<String>,
    /// The subject that the measurement is about.
    headline: Option<(usize, HeadlineOf)>,
    finish: Option<Finish>,
}

impl Plan {
    /// With the limit as the first lane.
    fn new(mut references: References, stage: Stage) -> Self {
        let lanes = vec![references.handoff()];
        Self {
            references,
            stage,
            lanes,
            subjects: Vec::new(),
            comparisons: Vec::new(),
            notes: Vec::new(),
            headline: None,
            finish: None,
        }
    }

    /// Adds a lane; returns its number.
    fn lane(&mut self, lane: Box<dyn Lane>) -> usize {
        self.lanes.push(lane);
        self.lanes.len() - 1
    }

    /// Adds a row for `lane`, against `beside`; returns its number.
    fn row(&mut self, lane: usize, beside: Option<Beside>) -> usize {
        let mut subject = Subject::new(&self.lanes[lane].name(), lane);
        if let Some(beside) = beside {
            subject = subject.against(beside);
        }
        self.subject(subject)
    }

    /// Adds a row; returns its number.
    fn subject(&mut self, subject: Subject) -> usize {
        self.subjects.push(subject);
        self.subjects.len() - 1
    }

    /// Makes a row the one that the measurement is about, unless there is one.
    fn about(&mut self, row: usize, headline: HeadlineOf) {
        self.headline.get_or_insert((row, headline));
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }
}

/// The raw rings beside memlane's streams, as numbers of lanes.
#[derive(Clone, Copy, Debug)]
struct RawRings {
    /// Of 1 MiB: the yardstick.
    one_mib: usize,
    four_mib: usize,
    four_mib_patient: usize,
}

impl RawRings {
    /// Adds rings for these messages.
    fn add<M: Messages + 'static>(messages: M, plan: &mut Plan) -> Self {
        let references = &mut plan.references;
        let lanes = [
            references.ring(RingSize::OneMib, messages.clone()),
            references.ring(RingSize::FourMib, messages.clone()),
            references.patient_ring(RingSize::OneMib, messages.clone()),
            references.patient_ring(RingSize::FourMib, messages),
        ];
        let [one_mib, four_mib, _, four_mib_patient] = lanes.map(|lane| {
            let lane = plan.lane(lane);
            plan.row(lane, None);
            lane
        });
        Self { one_mib, four_mib, four_mib_patient }
    }

    /// Compares a stream with all of them.
    fn compare(self, plan: &mut Plan, lane: usize) {
        let rings = [self.one_mib, self.four_mib, self.four_mib_patient];
        plan.comparisons.extend(rings.map(|ring| (lane, ring)));
    }
}

/// What every report with streams must say.
const STREAMS_NOTE: &str = "Ratios of rates are against the raw ring of 1 MiB with the same payload, the yardstick. memlane's rings are of 4 MiB, \
    and its subscriber pauses 256 times after a look that found nothing, so that it does not follow on the publisher's \
    heels. Patient raw rings have readers that do the same; side by side stand all of them. \"×N\": in batches of N \
    messages, else one publish a message; \"cell\": what frames are padded to, in bytes.";

/// Measures for about `time`. `peer` says how to start the process that calls [`follow`] with the directory and the task.
///
/// # Errors
/// [`TaskError`]; if the machine has one core only; if the two processes can't work together.
pub fn measure(
    task: &Task,
    time: Duration,
    peer: impl FnOnce(&Path) -> anyhow::Result<PeerCommand>,
    on_round: OnRound<'_>,
) -> anyhow::Result<Report> {
    task.check()?;
    let machine = Machine::describe();
    let cores = Cores::choose()?;
    let workplace = Workplace::new()?;
    let directory = workplace.path();
    let payload_bytes_max = task.payload.unwrap_or(0);
    let mut plan =
        Plan::new(References::create(directory, payload_bytes_max)?, Stage::open(directory, Side::Initiator)?);
    task.prepare(&mut plan)?;
    let Plan { lanes, subjects, comparisons, notes, headline, finish, .. } = plan;
    let settings = task.settings(time);
    let rounds: Rounds = rounds::measure(directory, cores, &peer(directory)?, lanes, &settings, on_round)?;
    let mut report = Report::new(task.bench.name(), machine, cores, &settings, &rounds, &subjects)
        .with_comparisons(&rounds, &comparisons);
    report.notes = notes;
    report.headline = headline.map_or_else(Headline::default, |(row, make)| make(&report.rows[row]));
    if let Some(finish) = finish {
        report.headline = finish(&report, report.headline.clone());
    }
    Ok(report)
}

/// The other process of [`measure`].
///
/// # Errors
/// As [`exchange::follow`].
pub fn follow(task: &Task, directory: &Path) -> anyhow::Result<()> {
    exchange::follow(directory, || {
        let mut plan = Plan::new(References::open(directory)?, Stage::open(directory, Side::Responder)?);
        task.prepare(&mut plan)?;
        Ok(plan.lanes)
    })
}
