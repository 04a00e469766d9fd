//! The figures of a measurement: as a serializable object here, as text in `text`.
//!
//! The top level of the JSON has the few numbers that the measurement is about ([`Headline`]); everything else hangs below,
//! by placement.

#[cfg(test)]
mod tests;
mod text;

use serde::{Serialize, Serializer};

use super::lane::Kind;
use super::latencies::{CurvePoint, Distribution, Percentiles};
use super::machine::{Cores, Machine};
use super::placement::{ByPlacement, Thresholds};
use super::plot::bars::{Bar, Bars};
use super::plot::{Curve, Plot};
use super::rounds::Settings;
use super::statistics::{BatchCounts, Beside, PercentileRatios, Rounds, Spread};

/// What a row of the report shows: a lane timed in batches, and perhaps one whose latencies are recorded one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    name: String,
    lane: usize,
    beside: Option<Beside>,
    latencies: Option<usize>,
    latencies_beside: Option<usize>,
}

impl Subject {
    /// The batches of `lane`, against nothing.
    #[must_use]
    pub fn new(name: &str, lane: usize) -> Self {
        Self { name: name.to_owned(), lane, beside: None, latencies: None, latencies_beside: None }
    }

    /// With ratios of its batches to those of `beside`.
    #[must_use]
    pub fn against(self, beside: Beside) -> Self {
        Self { beside: Some(beside), ..self }
    }

    /// With percentiles from `lane` (the same or its hop-by-hop counterpart), against those of lane `beside`.
    #[must_use]
    pub fn with_latencies(self, lane: usize, beside: Option<usize>) -> Self {
        Self { latencies: Some(lane), latencies_beside: beside, ..self }
    }
}

/// The numbers that stand at the top level of the JSON; each measurement has its own few. One that there was nothing to
/// measure for, such as a rate at a placement that did not occur, is `null`.
///
/// | name | of | what |
/// |---|---|---|
/// | `ratio_p50` | latency, wake | median over batches of the batch's figure against the limit beside it |
/// | `ratio_p99`, `ratio_p999` | latency, wake | percentiles of single latencies against the limit's own |
/// | `messages_per_s_near`, `messages_per_s_far` | throughput, publishers | median rate by placement |
/// | `ratio_to_limit` | throughput, publishers | median over batches of the rate against the raw ring beside it |
/// | `ratio_64_to_1` | fanout | time of a publish with 64 subscribers against that with one |
///
/// What [`super::suite`] adds beyond these, its notes explain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headline {
    entries: Vec<(&'static str, Option<f64>)>,
}

impl Headline {
    /// Of `latency` and `wake`: the ratios of a row.
    #[must_use]
    pub fn of_latency(row: &Row) -> Self {
        let all = row.figures.all.as_ref();
        let percentiles = all.and_then(|figures| figures.latency_ratio);
        Self::default()
            .with("ratio_p50", all.and_then(|figures| Some(figures.ratio?.p50)))
            .with("ratio_p99", percentiles.map(|ratios| ratios.p99))
            .with("ratio_p999", percentiles.map(|ratios| ratios.p999))
    }

    /// Of `throughput` and `publishers`: the rates of a row.
    #[must_use]
    pub fn of_throughput(row: &Row) -> Self {
        let rate = |figures: &Option<Figures>| Some(figures.as_ref()?.operations_per_s.p50);
        let all = row.figures.all.as_ref();
        Self::default()
            .with("messages_per_s_near", rate(&row.figures.near))
            .with("messages_per_s_far", rate(&row.figures.far))
            .with("ratio_to_limit", all.and_then(|figures| Some(figures.ratio?.p50)))
    }

    /// With a number more; one that is not finite is none.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Option<f64>) -> Self {
        self.entries.push((name, value.filter(|value| value.is_finite())));
        self
    }

    /// Its numbers, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        self.entries.iter().copied()
    }
}

impl Serialize for Headline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries())
    }
}

/// Two lanes side by side, round by round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub name: String,
    /// With what.
    pub beside: String,
    /// Of rates if both are streams, so that more is better; else of times, so that less is.
    pub ratio: ByPlacement<Spread>,
}

/// The figures of a row at one placement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Time per hop, message or operation, or batch medians of samples; ns.
    pub ns_per_operation: Spread,
    /// Operations (not hops) per second of a batch.
    pub operations_per_s: Spread,
    /// Against what stood beside each batch; of rates for streams held against streams, else of times.
    pub ratio: Option<Spread>,
    /// Percentiles of single latencies.
    pub latency: Option<Percentiles>,
    /// Those against the limit's own.
    pub latency_ratio: Option<PercentileRatios>,
    /// The whole curve of single latencies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// `handoff`, `stream`, `alone` or `sampled`: what an operation is.
    pub kind: &'static str,
    /// What the ratios are against.
    pub beside: Option<String>,
    /// Median count of operations in a batch.
    pub operations_per_batch: f64,
    /// Its figures.
    pub figures: ByPlacement<Figures>,
}

/// All that is said about a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Which measurement.
    pub bench: String,
    /// Its few important numbers.
    #[serde(flatten)]
    pub headline: Headline,
    /// Where it ran.
    pub machine: Machine,
    /// On which cores.
    pub cores: Cores,
    /// How long, s.
    pub seconds: f64,
    /// How many times each lane ran.
    pub rounds: usize,
    /// How often other programs took the initiator's core, if the kernel says.
    pub interruptions: Option<u64>,
    /// How long a batch was meant to take, ms.
    pub batch_ms: f64,
    /// What is near and far.
    pub thresholds: Thresholds,
    /// How many batches were where.
    pub batches: BatchCounts,
    /// The plain raw handoff beside the kept batches, ns.
    pub limit_ns: ByPlacement<Spread>,
    /// The figures.
    pub rows: Vec<Row>,
    /// Lanes side by side, beyond what the rows say.
    pub comparisons: Vec<Comparison>,
    /// What a reader must know to judge the figures.
    pub notes: Vec<String>,
}

impl Report {
    /// Sums the rounds up, a row for each subject. The headline is empty.
    #[must_use]
    pub fn new(
        bench: &str,
        machine: Machine,
        cores: Cores,
        settings: &Settings,
        rounds: &Rounds,
        subjects: &[Subject],
    ) -> Self {
        let thresholds = rounds.thresholds();
        Self {
            bench: bench.to_owned(),
            headline: Headline::default(),
            machine,
            cores,
            seconds: rounds.elapsed.as_secs_f64(),
            rounds: rounds.rounds.len(),
            interruptions: rounds.interruptions,
            batch_ms: settings.batch.as_secs_f64() * 1e3,
            thresholds,
            batches: rounds.counts(&thresholds),
            limit_ns: rounds.limits(&thresholds),
            rows: subjects.iter().map(|subject| row(rounds, &thresholds, subject)).collect(),
            comparisons: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// With these pairs of lanes compared.
    #[must_use]
    pub fn with_comparisons(mut self, rounds: &Rounds, pairs: &[(usize, usize)]) -> Self {
        let name = |lane: usize| rounds.lanes[lane].name.clone();
        self.comparisons.extend(pairs.iter().map(|(lane, beside)| Comparison {
            name: name(*lane),
            beside: name(*beside),
            ratio: rounds.ratios(&self.thresholds, *lane, Beside::Lane(*beside)),
        }));
        self
    }

    /// The ratio of lane `name` to lane `beside` over both placements, if they were compared.
    #[must_use]
    pub fn comparison(&self, name: &str, beside: &str) -> Option<f64> {
        let found = self.comparisons.iter().find(|pair| pair.name == name && pair.beside == beside)?;
        Some(found.ratio.all?.p50)
    }

    /// The row with this name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The drawing that suits the measurement, as the text of an SVG file: percentile curves of latencies, else bars.
    #[must_use]
    pub fn svg(&self) -> String {
        match self.rows.iter().find(|row| row.name.starts_with("memlane")).map(|row| row.kind) {
            Some("stream") => self.bars("messages a second, millions (M/s)", 1e6, "stream", |row| row.operations_per_s),
            Some("alone") => self.bars("time of a publish, ns", 1.0, "alone", |row| row.ns_per_operation),
            _ => return self.curves().svg(),
        }
        .svg()
    }

    fn title(&self) -> String {
        format!("memlane bench {}: {}", self.bench, self.machine.processor)
    }

    /// A bar for each row of this kind, by placement.
    fn bars(&self, axis_title: &str, divisor: f64, kind: &str, figure: fn(&Figures) -> Spread) -> Bars {
        let rows = self.rows.iter().filter(|row| row.kind == kind);
        let bars = rows.map(|row| Bar {
            label: row.name.clone(),
            near: row.figures.near.as_ref().map(figure),
            far: row.figures.far.as_ref().map(figure),
        });
        Bars { title: self.title(), axis_title: axis_title.to_owned(), divisor, bars: bars.collect() }
    }

    /// The percentile curves of all rows that have any, by placement.
    #[must_use]
    pub fn curves(&self) -> Plot {
        let curves = self.rows.iter().flat_map(|row| {
            let places = [("near", &row.figures.near), ("far", &row.figures.far)];
            places.into_iter().filter_map(|(place, figures)| {
                let points = figures.as_ref()?.curve.clone();
                let label = format!("{} ({place})", row.name);
                (!points.is_empty()).then_some(Curve { label, points })
            })
        });
        Plot { title: self.title(), axis_title: "latency".to_owned(), curves: curves.collect() }
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// None that is known: the object has text keys and numbers only.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

fn row(rounds: &Rounds, thresholds: &Thresholds, subject: &Subject) -> Row {
    let lane = subject.lane;
    let times = rounds.figures(thresholds, lane, |batch| batch.ns_per_operation);
    let rates = rounds.figures(thresholds, lane, |batch| batch.operations as f64 / batch.elapsed_ns * 1e9);
    let ratios = subject.beside.map_or_else(ByPlacement::default, |beside| rounds.ratios(thresholds, lane, beside));
    let merged =
        |lane: Option<usize>| lane.map_or_else(ByPlacement::default, |lane| rounds.distributions(thresholds, lane));
    let own = merged(subject.latencies);
    let latency = own.and_then(Distribution::percentiles);
    let limit = merged(subject.latencies_beside).and_then(Distribution::percentiles);
    let latency_ratio = PercentileRatios::by_placement(&latency, &limit);
    let counts = rounds.batches().filter(|batch| batch.lane == lane).map(|batch| batch.operations as f64);
    Row {
        name: subject.name.clone(),
        kind: kind_name(rounds.lanes[lane].kind),
        beside: subject.beside.map(|beside| beside_name(rounds, beside)),
        operations_per_batch: Spread::of(counts.collect()).map_or(0.0, |spread| spread.p50),
        figures: ByPlacement::from_parts(|part| {
            Some(Figures {
                ns_per_operation: *times.part(part)?,
                operations_per_s: *rates.part(part)?,
                ratio: ratios.part(part).copied(),
                latency: latency.part(part).copied(),
                latency_ratio: latency_ratio.part(part).copied(),
                curve: own.part(part).map_or_else(Vec::new, Distribution::curve),
            })
        }),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Handoff => "handoff",
        Kind::Stream => "stream",
        Kind::Alone => "alone",
        Kind::Sampled => "sampled",
    }
}

fn beside_name(rounds: &Rounds, beside: Beside) -> String {
    let lane = match beside {
        Beside::Limit => super::rounds::LIMIT,
        Beside::Lane(lane) => lane,
    };
    rounds.lanes[lane].name.clone()
}
