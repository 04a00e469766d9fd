//! Which lanes each `memlane bench …` measures, and which of them against which.
//!
//! A [`Task`] says what was asked for. Both processes make a `Plan` of it, and so the same list of lanes; the one that
//! measures turns it into a [`Report`].

mod fanout;
mod latency;
mod publishers;
mod throughput;
mod wake;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exchange;
use super::lane::Lane;
use super::log::{Side, Stage};
use super::machine::{Cores, Machine, PeerCommand, Workplace};
use super::reference::{References, RingSize};
use super::report::{Headline, Report, Subject};
use super::rounds::{self, OnRound, Settings};
use super::statistics::{Beside, Rounds};

/// Payloads that can be asked for, in bytes: each has code of its own, as an application's types have.
pub const PAYLOADS_BYTES: [usize; 6] = [16, 48, 56, 64, 256, 1024];

/// Calls a generic function with the payload's length as its constant.
macro_rules! with_payload {
    ($bytes:expr, $function:ident($($argument:expr),*)) => {
        match $bytes {
            16 => $function::<16, 2>($($argument),*),
            48 => $function::<48, 6>($($argument),*),
            56 => $function::<56, 7>($($argument),*),
            64 => $function::<64, 8>($($argument),*),
            256 => $function::<256, 32>($($argument),*),
            1024 => $function::<1024, 128>($($argument),*),
            bytes => Err(crate::bench::suite::TaskError::Payload { bytes }.into()),
        }
    };
}
use with_payload;

/// What can't be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// There is no code for payloads of this length: choose another one.
    #[error("can't measure payloads of {bytes} bytes: choose one of {PAYLOADS_BYTES:?}")]
    Payload {
        /// What was asked for.
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
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Fanout => "fanout",
            Self::Publishers => "publishers",
            Self::Wake => "wake",
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Which measurement.
    pub bench: Bench,
    /// The payload in bytes, one of [`PAYLOADS_BYTES`]; `None` for the usual ones.
    pub payload: Option<usize>,
    /// Messages in a batch, where there are batches.
    pub batch: usize,
    /// Messages a second, for latency at a fixed rate; `None` for round trips.
    pub rate: Option<f64>,
}

impl Task {
    /// The payloads to measure.
    fn payloads(&self, usual: &[usize]) -> Vec<usize> {
        self.payload.map_or_else(|| usual.to_vec(), |payload| vec![payload])
    }

    fn prepare(&self, plan: &mut Plan) -> anyhow::Result<()> {
        if let Some(bytes) = self.payload.filter(|bytes| !PAYLOADS_BYTES.contains(bytes)) {
            return Err(TaskError::Payload { bytes }.into());
        }
        match (self.bench, self.rate) {
            (Bench::Latency, Some(rate)) => latency::prepare_open_loop(plan, self, rate),
            (Bench::Latency, None) => latency::prepare(plan, self),
            (Bench::Throughput, _) => throughput::prepare(plan, self),
            (Bench::Fanout, _) => fanout::prepare(plan, self),
            (Bench::Publishers, _) => publishers::prepare(plan, self),
            (Bench::Wake, _) => wake::prepare(plan, self),
        }
    }

    fn settings(&self, time: Duration) -> Settings {
        let settings = Settings::lasting(time);
        match self.bench {
            // A schedule needs some length; a wake-up takes 200 µs and more.
            Bench::Latency if self.rate.is_some() => Settings { batch: Duration::from_millis(20), ..settings },
            Bench::Wake => Settings { batch: Duration::from_millis(10), ..settings },
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
    /// Adds rings for payloads of 64 bytes (`payload` up to 64) or of 1 KiB.
    fn add(plan: &mut Plan, payload: usize) -> Self {
        let is_small = payload <= 64;
        let references = &mut plan.references;
        let lanes = if is_small {
            [
                references.ring_of_64_bytes(RingSize::OneMib),
                references.ring_of_64_bytes(RingSize::FourMib),
                references.patient_ring_of_64_bytes(RingSize::OneMib),
                references.patient_ring_of_64_bytes(RingSize::FourMib),
            ]
        } else {
            [
                references.ring_of_1_kib(RingSize::OneMib),
                references.ring_of_1_kib(RingSize::FourMib),
                references.patient_ring_of_1_kib(RingSize::OneMib),
                references.patient_ring_of_1_kib(RingSize::FourMib),
            ]
        };
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
const STREAMS_NOTE: &str = "Ratios of rates are against the raw ring of 1 MiB, the yardstick. memlane's rings are of 4 MiB, \
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
    let machine = Machine::describe();
    let cores = Cores::choose()?;
    let workplace = Workplace::new()?;
    let directory = workplace.path();
    let mut plan = Plan::new(References::create(directory)?, Stage::open(directory, Side::Initiator)?);
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
