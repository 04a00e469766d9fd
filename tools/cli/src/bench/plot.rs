//! Percentile curves as a drawing (SVG), black on white, fit for print.
//!
//! The horizontal axis is that of HDR plots: each further nine takes the same width. The vertical one is logarithmic.
//! Curves differ in their dashes and carry their names at their ends.
//!
//! What has no percentiles is drawn as [`bars`].

pub mod bars;

use std::fmt::Write as _;

use super::latencies::CurvePoint;

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Its name.
    pub label: String,
    /// Its points, ascending in both.
    pub points: Vec<CurvePoint>,
}

/// A drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Stands above it.
    pub title: String,
    /// Says what was measured, on the vertical axis.
    pub axis_title: String,
    /// The curves.
    pub curves: Vec<Curve>,
}

const PLOT_WIDTH: f64 = 560.0;
const PLOT_HEIGHT: f64 = 360.0;
const LEFT: f64 = 84.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 56.0;

/// From the end of the axes to the labels: room for a leader and a sample of the dashes.
const LEADER_WIDTH: f64 = 24.0;
const SAMPLE_WIDTH: f64 = 34.0;

/// Curves that end further left have no leader, which would cross the others; their dashes name them.
const LEADER_FROM_SHARE: f64 = 0.9;

/// Between the base lines of two labels.
const LABEL_HEIGHT: f64 = 15.0;

/// A generous guess, since nobody measures text here.
const LABEL_CHARACTER_WIDTH: f64 = 6.8;

/// Dashes and widths of the strokes, told apart in print.
const STROKES: [(&str, f64); 8] = [
    ("none", 2.2),
    ("8 4", 1.8),
    ("2 3", 1.8),
    ("12 3 2 3", 1.8),
    ("none", 0.9),
    ("5 5", 0.9),
    ("1 3", 0.9),
    ("14 3 2 3 2 3", 0.9),
];

/// The widest range of percentiles that is drawn: up to 99.9999999.
const NINES_MAX: f64 = 9.0;

/// The scales of a drawing.
#[derive(Clone, Copy, Debug)]
struct Scales {
    /// Nines at the right end: 3 stands for 99.9 %.
    nines: f64,
    ns_min: f64,
    ns_max: f64,
}

impl Scales {
    fn of(curves: &[Curve]) -> Self {
        let points = || curves.iter().flat_map(|curve| nines_and_ns(&curve.points));
        let nines = points().map(|(nines, _)| nines).fold(1.0, f64::max);
        let lowest = points().map(|(_, ns)| ns).fold(f64::INFINITY, f64::min);
        let highest = points().map(|(_, ns)| ns).fold(0.0, f64::max);
        let (lowest, highest) = if highest > 0.0 { (lowest, highest) } else { (1.0, 10.0) };
        Self {
            nines: nines.clamp(1.0, NINES_MAX),
            ns_min: round_down(lowest),
            ns_max: round_up(highest).max(round_down(lowest) * 2.0),
        }
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + (nines / self.nines).min(1.0) * PLOT_WIDTH
    }

    fn y(&self, ns: f64) -> f64 {
        let share = (ns / self.ns_min).log10() / (self.ns_max / self.ns_min).log10();
        TOP + PLOT_HEIGHT * (1.0 - share)
    }
}

/// Points as (nines, ns). The maximum (100 %) stands a little right of its predecessor; times below 1 ns are lifted to it.
fn nines_and_ns(points: &[CurvePoint]) -> impl Iterator<Item = (f64, f64)> + '_ {
    /// Right of its predecessor by a halving of what is left above.
    const STEP_TO_MAXIMUM: f64 = 0.3;
    let mut last = 0.0;
    points.iter().map(move |point| {
        let left = 1.0 - point.percentile / 100.0;
        let nines = if left > 1e-12 { -left.log10() } else { last + STEP_TO_MAXIMUM };
        if left > 1e-12 {
            last = nines;
        }
        (nines.max(0.0), point.ns.max(1.0))
    })
}

/// 1, 2 and 5 of each decade from below `from` to above `to`, ns.
fn marks(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let first = from.max(1.0).log10().floor() as i32;
    let last = to.max(1.0).log10().ceil() as i32;
    (first..=last).flat_map(|decade| [1.0, 2.0, 5.0].map(|mark| mark * 10_f64.powi(decade)))
}

fn round_down(ns: f64) -> f64 {
    marks(ns, ns).filter(|mark| *mark <= ns * 1.001).fold(1.0, f64::max)
}

fn round_up(ns: f64) -> f64 {
    marks(ns, ns).filter(|mark| *mark >= ns * 0.999).fold(f64::INFINITY, f64::min)
}

/// A time in the unit that suits it.
fn time_text(ns: f64) -> String {
    let (divisor, unit) = match ns {
        ns if ns >= 1e9 => (1e9, "s"),
        ns if ns >= 1e6 => (1e6, "ms"),
        ns if ns >= 1e3 => (1e3, "µs"),
        _ => (1.0, "ns"),
    };
    format!("{} {unit}", ns / divisor)
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Not allowed in XML, not even as a reference.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
        escaped
    })
}

impl Plot {
    /// The drawing as the text of an SVG file. Curves without points are left out.
    #[must_use]
    pub fn svg(&self) -> String {
        let curves: Vec<Curve> = self.curves.iter().filter(|curve| !curve.points.is_empty()).cloned().collect();
        let scales = Scales::of(&curves);
        let longest = curves.iter().map(|curve| curve.label.chars().count()).max();
        let labels_width = longest.unwrap_or(0) as f64 * LABEL_CHARACTER_WIDTH;
        let width = LEFT + PLOT_WIDTH + LEADER_WIDTH + SAMPLE_WIDTH + 12.0 + labels_width;
        let height = TOP + PLOT_HEIGHT + BOTTOM;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let parts = [
            self.titles(),
            percentile_axis(&scales),
            time_axis(&scales),
            curve_lines(&curves, &scales),
            labels(&curves, &scales),
        ];
        svg.extend(parts);
        svg.push_str("</svg>\n");
        svg
    }

    fn titles(&self) -> String {
        let (middle, bottom) = (LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT + 42.0);
        let center = TOP + PLOT_HEIGHT / 2.0;
        format!(
            "<text x=\"{LEFT}\" y=\"28\" font-size=\"15\" font-weight=\"bold\">{}</text>\n\
             <text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">percentile (%)</text>\n\
             <text transform=\"translate(20 {center}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            escape(&self.title),
            escape(&self.axis_title)
        )
    }
}

fn percentile_axis(scales: &Scales) -> String {
    let bottom = TOP + PLOT_HEIGHT;
    let nines = (1..=NINES_MAX as usize).map(|nines| nines as f64);
    let mut svg = String::new();
    for nines in [0.0, 2_f64.log10()].into_iter().chain(nines) {
        if nines > scales.nines + 1e-9 {
            break;
        }
        let x = scales.x(nines);
        let decimals = (nines - 2.0).max(0.0) as usize;
        let percentile = 100.0 - 10_f64.powf(2.0 - nines);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#d0d0d0\" stroke-width=\"0.7\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{percentile:.decimals$}</text>",
            bottom + 18.0
        );
    }
    svg
}

fn time_axis(scales: &Scales) -> String {
    let (right, bottom) = (LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT);
    let decades = (scales.ns_max / scales.ns_min).log10();
    let mut svg = String::new();
    for ns in marks(scales.ns_min, scales.ns_max) {
        if ns < scales.ns_min * 0.999 || ns > scales.ns_max * 1.001 {
            continue;
        }
        // On a long scale only the decades are named.
        let is_decade = (ns.log10() - ns.log10().round()).abs() < 1e-9;
        let y = scales.y(ns);
        let stroke = if is_decade { "#c0c0c0" } else { "#e4e4e4" };
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"{stroke}\" stroke-width=\"0.7\"/>"
        );
        if is_decade || decades < 4.5 {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                time_text(ns)
            );
        }
    }
    let _ =
        writeln!(svg, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"black\" stroke-width=\"1\"/>");
    svg
}

fn stroke(index: usize) -> String {
    let (dashes, width) = STROKES[index % STROKES.len()];
    format!("fill=\"none\" stroke=\"black\" stroke-width=\"{width}\" stroke-dasharray=\"{dashes}\"")
}

fn curve_lines(curves: &[Curve], scales: &Scales) -> String {
    let mut svg = String::new();
    for (index, curve) in curves.iter().enumerate() {
        let mut path = String::new();
        for (nines, ns) in nines_and_ns(&curve.points) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", scales.x(nines), scales.y(ns));
        }
        let _ = writeln!(svg, "<path d=\"{path}\" stroke-linejoin=\"round\" {}/>", stroke(index));
    }
    svg
}

/// The names at the right, each with a sample of its dashes and, if its curve ends near by, a thin leader from there.
fn labels(curves: &[Curve], scales: &Scales) -> String {
    let end = |curve: &Curve| {
        let (nines, ns) = nines_and_ns(&curve.points).last().unwrap_or((0.0, scales.ns_min));
        (scales.x(nines), scales.y(ns))
    };
    let mut ends: Vec<(usize, (f64, f64))> = curves.iter().map(end).enumerate().collect();
    ends.sort_by(|(_, one), (_, other)| one.1.total_cmp(&other.1));
    let wanted: Vec<f64> = ends.iter().map(|(_, (_, y))| *y).collect();
    let sample = LEFT + PLOT_WIDTH + LEADER_WIDTH;
    let text = sample + SAMPLE_WIDTH + 6.0;
    let mut svg = String::new();
    for ((index, (x, y)), at) in ends.into_iter().zip(apart(&wanted)) {
        if x > LEFT + PLOT_WIDTH * LEADER_FROM_SHARE {
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {y:.1}L{sample:.1} {at:.1}\" fill=\"none\" stroke=\"#909090\" stroke-width=\"0.6\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{sample:.1} {at:.1}h{SAMPLE_WIDTH}\" {}/>\n\
             <text x=\"{text:.1}\" y=\"{:.1}\">{}</text>",
            stroke(index),
            at + 4.0,
            escape(&curves[index].label)
        );
    }
    svg
}

/// Moves ascending heights apart until no two labels overlap, and up again if they leave the drawing.
fn apart(wanted: &[f64]) -> Vec<f64> {
    let mut heights = wanted.to_vec();
    for index in 1..heights.len() {
        heights[index] = heights[index].max(heights[index - 1] + LABEL_HEIGHT);
    }
    let mut below = TOP + PLOT_HEIGHT + LABEL_HEIGHT;
    for height in heights.iter_mut().rev() {
        *height = height.min(below - LABEL_HEIGHT);
        below = *height;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(label: &str, ns: f64) -> Curve {
        let points = [0.0, 50.0, 99.0, 99.9, 100.0];
        Curve {
            label: label.to_owned(),
            points: points
                .iter()
                .enumerate()
                .map(|(index, percentile)| CurvePoint { percentile: *percentile, ns: ns * (index + 1) as f64 })
                .collect(),
        }
    }

    fn plot(curves: Vec<Curve>) -> String {
        Plot { title: "a & b".to_owned(), axis_title: "latency".to_owned(), curves }.svg()
    }

    #[test]
    fn text_cannot_break_out_of_the_drawing() {
        let svg = plot(vec![curve("<script>\"\u{1}", 60.0)]);
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;script&gt;&quot; "));
        assert!(!svg.contains("<script>"));
    }

    #[test]
    fn every_point_lies_within_the_axes() {
        let curves = [curve("low", 0.2), curve("high", 30e6)];
        let scales = Scales::of(&curves);
        for (nines, ns) in curves.iter().flat_map(|curve| nines_and_ns(&curve.points)) {
            let (x, y) = (scales.x(nines), scales.y(ns));
            assert!((LEFT..=LEFT + PLOT_WIDTH).contains(&x), "{x}");
            assert!((TOP - 0.1..=TOP + PLOT_HEIGHT + 0.1).contains(&y), "{y}");
        }
    }

    #[test]
    fn a_drawing_of_nothing_has_axes_and_no_curve() {
        let empty = Curve { label: "empty".to_owned(), points: Vec::new() };
        let svg = plot(vec![empty]);
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("empty"));
    }

    #[test]
    fn labels_do_not_overlap_and_stay_inside() {
        let low = TOP + PLOT_HEIGHT;
        let heights = apart(&[100.0, 101.0, 102.0, low, low]);
        assert!(heights.windows(2).all(|two| two[1] - two[0] >= LABEL_HEIGHT - 1e-9));
        assert!(heights.iter().all(|height| (TOP..=low).contains(height)));
    }

    #[test]
    fn marks_of_the_axis_are_round_and_enclose_the_values() {
        assert_eq!((round_down(65.0), round_up(65.0)), (50.0, 100.0));
        assert_eq!((round_down(50.0), round_up(50.0)), (50.0, 50.0));
        assert_eq!((round_down(0.5), round_up(1_050.0)), (1.0, 2_000.0));
        assert_eq!(time_text(20_000.0), "20 µs");
    }
}
