//! Bars, one or two for each lane, as a drawing (SVG), black on white, fit for print.
//!
//! Near is filled, far is hatched. A bar is a median; the thin line across its end reaches from where a tenth of the batches
//! lies below to where a tenth lies above. The axis begins at 0.

use std::fmt::Write as _;

use super::escape;
use crate::bench::statistics::Spread;

/// The bars of one lane.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// When the cores were near.
    pub near: Option<Spread>,
    /// When they were far.
    pub far: Option<Spread>,
}

/// A drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// Stands above it.
    pub title: String,
    /// Says what was measured and in which unit, below the axis.
    pub axis_title: String,
    /// What a bar's values are divided by to be in that unit.
    pub divisor: f64,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

const PLOT_WIDTH: f64 = 480.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 52.0;
const RIGHT: f64 = 72.0;
const BAR_HEIGHT: f64 = 13.0;
const GAP: f64 = 9.0;
const LEFT_MIN: f64 = 90.0;

/// A generous guess, since nobody measures text here.
const CHARACTER_WIDTH: f64 = 6.6;

/// Fills that are told apart in print, near and far.
const FILLS: [(&str, &str); 2] = [("near", "#8c8c8c"), ("far", "url(#far)")];

/// Where things lie.
#[derive(Clone, Copy, Debug)]
struct Scales {
    left: f64,
    /// Value at the right end, and between two marks.
    end: f64,
    step: f64,
    /// Where the last bar ends.
    bottom: f64,
}

impl Scales {
    fn x(&self, value: f64) -> f64 {
        self.left + (value / self.end).clamp(0.0, 1.0) * PLOT_WIDTH
    }
}

impl Bar {
    fn spreads(&self) -> [Option<Spread>; 2] {
        [self.near, self.far]
    }

    fn height(&self) -> f64 {
        self.spreads().iter().flatten().count() as f64 * BAR_HEIGHT + GAP
    }
}

/// The least of 1, 2 and 5 of a decade that goes into `highest` five times at most, and the multiple of it above that.
fn step_and_end(highest: f64) -> (f64, f64) {
    const STEPS_MAX: f64 = 5.0;
    let least = if highest > 0.0 && highest.is_finite() { highest / STEPS_MAX } else { 1.0 };
    let decade = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|mark| mark * decade).into_iter().find(|step| *step >= least * 0.999);
    let step = step.unwrap_or(decade * 10.0);
    (step, (highest / step).ceil().max(1.0) * step)
}

/// Few digits.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 || value == 0.0 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}

impl Bars {
    /// The drawing as the text of an SVG file. Lanes without a figure are left out.
    #[must_use]
    pub fn svg(&self) -> String {
        let bars: Vec<Bar> =
            self.bars.iter().filter(|bar| bar.spreads().iter().any(Option::is_some)).cloned().collect();
        let scales = self.scales(&bars);
        let (width, height) = (scales.left + PLOT_WIDTH + RIGHT, scales.bottom + BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" font-size=\"11\">\n\
             <defs><pattern id=\"far\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">\
             <path d=\"M0 5L5 0\" stroke=\"black\" stroke-width=\"0.8\"/></pattern></defs>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"16\" y=\"26\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            escape(&self.title)
        );
        svg.extend([self.axis(&scales), self.key(&bars, &scales)]);
        let mut y = TOP + GAP / 2.0;
        for bar in &bars {
            svg.push_str(&self.bar(bar, &scales, y));
            y += bar.height();
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn scales(&self, bars: &[Bar]) -> Scales {
        let highest = bars.iter().flat_map(Bar::spreads).flatten().map(|spread| spread.p90).fold(0.0, f64::max);
        let (step, end) = step_and_end(highest / self.divisor);
        let longest = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
        Scales {
            left: (longest as f64 * CHARACTER_WIDTH + 24.0).max(LEFT_MIN),
            end,
            step,
            bottom: TOP + bars.iter().map(Bar::height).sum::<f64>(),
        }
    }

    fn axis(&self, scales: &Scales) -> String {
        let Scales { left, end, step, bottom } = *scales;
        let mut svg = String::new();
        for mark in 0..=(end / step).round() as u32 {
            let value = f64::from(mark) * step;
            let x = scales.x(value);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#d8d8d8\" \
                 stroke-width=\"0.7\"/>\n<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                // Marks are round: the digits that a step has are enough.
                if step >= 1.0 { format!("{value:.0}") } else { number(value) }
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {TOP}V{bottom:.1}H{:.1}\" fill=\"none\" stroke=\"black\" stroke-width=\"1\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            left + PLOT_WIDTH,
            left + PLOT_WIDTH / 2.0,
            bottom + 38.0,
            escape(&self.axis_title)
        );
        svg
    }

    /// Which fill is which, of those that occur.
    fn key(&self, bars: &[Bar], scales: &Scales) -> String {
        let mut svg = String::new();
        let mut x = scales.left;
        for (index, (name, fill)) in FILLS.iter().enumerate() {
            if bars.iter().any(|bar| bar.spreads()[index].is_some()) {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"42\" width=\"22\" height=\"10\" fill=\"{fill}\" stroke=\"black\" \
                     stroke-width=\"0.7\"/>\n<text x=\"{:.1}\" y=\"51\">{name}</text>",
                    x + 28.0
                );
                x += 80.0;
            }
        }
        svg
    }

    fn bar(&self, bar: &Bar, scales: &Scales, top: f64) -> String {
        let left = scales.left;
        let middle = top + (bar.height() - GAP) / 2.0;
        let mut svg = format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            left - 8.0,
            middle + 4.0,
            escape(&bar.label)
        );
        let mut y = top;
        for (spread, (_, fill)) in bar.spreads().into_iter().zip(FILLS) {
            let Some(spread) = spread else { continue };
            let [low, end, high] = [spread.p10, spread.p50, spread.p90].map(|value| scales.x(value / self.divisor));
            let center = y + BAR_HEIGHT / 2.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{left}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\" stroke=\"black\" \
                 stroke-width=\"0.7\"/>\n\
                 <path d=\"M{low:.1} {center:.1}H{high:.1}M{low:.1} {:.1}v5M{high:.1} {:.1}v5\" stroke=\"black\" \
                 stroke-width=\"1\"/>\n<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                y + 1.0,
                end - left,
                BAR_HEIGHT - 2.0,
                center - 2.5,
                center - 2.5,
                high.max(end) + 6.0,
                center + 4.0,
                number(spread.p50 / self.divisor)
            );
            y += BAR_HEIGHT;
        }
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(p50: f64) -> Spread {
        Spread { count: 3, p10: p50 * 0.9, p50, p90: p50 * 1.2 }
    }

    fn drawing(bars: Vec<Bar>) -> String {
        Bars { title: "a & b".to_owned(), axis_title: "M/s".to_owned(), divisor: 1e6, bars }.svg()
    }

    #[test]
    fn each_lane_has_its_name_its_bars_and_their_values() {
        let fast = Bar { label: "<fast>".to_owned(), near: Some(spread(150e6)), far: Some(spread(72e6)) };
        let slow = Bar { label: "slow".to_owned(), near: None, far: Some(spread(9e6)) };
        let nothing = Bar { label: "nothing".to_owned(), near: None, far: None };
        let svg = drawing(vec![fast, slow, nothing]);
        for part in ["a &amp; b", "&lt;fast&gt;", ">150<", ">72.0<", ">9.00<", ">near<", ">far<", ">200<"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(!svg.contains("nothing") && !svg.contains("NaN"));
    }

    #[test]
    fn a_drawing_of_nothing_has_an_axis_and_no_bar() {
        let svg = drawing(Vec::new());
        assert!(svg.contains("M/s") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn marks_are_round_and_reach_the_highest_value() {
        assert_eq!(step_and_end(180.0), (50.0, 200.0));
        assert_eq!(step_and_end(5.0), (1.0, 5.0));
        let (step, end) = step_and_end(0.43);
        assert!((step - 0.1).abs() < 1e-12 && (end - 0.5).abs() < 1e-12);
        assert_eq!(step_and_end(0.0), (1.0, 1.0));
    }
}
