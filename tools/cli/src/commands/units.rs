//! Sizes, spans of time and rates, as people write and read them.

use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use indicatif::HumanCount;
pub(super) use memlane_node::units::{parse_bytes, parse_count, parse_duration, parse_sync};

/// A span from one look to the next: at least 10 ms.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        short if short < Duration::from_millis(10) => Err("shorter than 10 ms".to_owned()),
        span => Ok(span),
    }
}

/// A number of messages per second: `1000`, `250k`, `1.5M/s`.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches("/s");
    let (number, factor) = match number.char_indices().last() {
        Some((at, 'k' | 'K')) => (&number[..at], 1e3),
        Some((at, 'M')) => (&number[..at], 1e6),
        _ => (number, 1.0),
    };
    match number.trim().parse::<f64>() {
        // Slower than one in eleven days is a mistake, and faster than one in a nanosecond too.
        Ok(number) if (1e-6..=1e9).contains(&(number * factor)) => Ok(number * factor),
        _ => Err("not a rate: give messages per second, such as 1000, 250k or 1.5M".to_owned()),
    }
}

/// Permission bits in octal: `640`.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not a mode: give permission bits in octal, such as 640".to_owned()),
    }
}

/// A number with separators between the thousands.
pub(super) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// As [`count`], but rounded from 100,000 on: `460 k`, `16.1 M`.
pub(super) fn short_count(number: u64) -> String {
    match number {
        0..100_000 => count(number),
        100_000..999_500 => format!("{:.0} k", number as f64 / 1e3),
        _ => format!("{:.1} M", number as f64 / 1e6),
    }
}

/// An instant, in nanoseconds since 1970: `2026-11-25T14:56:52.123456789Z`.
pub(super) fn time(unix_ns: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(unix_ns)).to_string()
}

/// A size in bytes: `4 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string().replace(".0 ", " ")
}

/// A size in bytes with three figures, never wider than eight cells: `999 B`, `1.50 KiB`, `64.0 MiB`.
pub(super) fn short_bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let (mut value, mut units) = (bytes as f64 / 1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter());
    let mut unit = units.next().unwrap_or(&"B");
    while value >= 999.5
        && let Some(larger) = units.next()
    {
        (value, unit) = (value / 1024.0, larger);
    }
    format!("{value:.*} {unit}", decimals(value))
}

/// So many that a number has three figures.
fn decimals(value: f64) -> usize {
    if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    }
}

/// A share, 0 to 1, in hundredths: `25 %`; `<1 %` where there is some.
pub(super) fn percent(share: f64) -> String {
    let hundredths = share * 100.0;
    if hundredths > 0.0 && hundredths < 0.5 { "<1 %".to_owned() } else { format!("{hundredths:.0} %") }
}

/// A span in nanoseconds, with three figures: `312 ns`, `9.14 µs`, `1.20 ms`.
pub(super) fn nanoseconds(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..999_500 => (ns as f64 / 1e3, "µs"),
        999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = decimals(value);
    format!("{value:.decimals$} {unit}")
}

/// A span of time: as [`nanoseconds`].
pub(super) fn span(span: Duration) -> String {
    nanoseconds(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// So many in a time, per second; zero where no time passed.
pub(super) fn per_second(number: u64, span: Duration) -> f64 {
    let seconds = span.as_secs_f64();
    if seconds > 0.0 { number as f64 / seconds } else { 0.0 }
}

/// A rate with three figures: `8.01 k/s`, `12.3 M/s`.
pub(super) fn rate(per_second: f64) -> String {
    let (value, unit) = match per_second {
        at_least if at_least >= 999_500.0 => (at_least / 1e6, " M/s"),
        at_least if at_least >= 9_995.0 => (at_least / 1e3, " k/s"),
        below => return format!("{} /s", count(below.round() as u64)),
    };
    let decimals = decimals(value);
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let rates = ["1000", "250k", "1.5M/s", "2/s"].map(|text| parse_rate(text).unwrap());
        assert_eq!(rates, [1e3, 250e3, 1.5e6, 2.0]);
        for text in ["", "0", "-1", "x", "k", "nan", "inf", "1e12"] {
            assert!(parse_rate(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn figures_are_short() {
        let spans = [0, 999, 1_000, 9_140, 12_345, 999_999, 1_200_000, 61_000_000_000].map(nanoseconds);
        assert_eq!(spans, ["0 ns", "999 ns", "1.00 µs", "9.14 µs", "12.3 µs", "1.00 ms", "1.20 ms", "61.0 s"]);
        assert_eq!([17.0, 8_012.0, 12_345.0, 9.87e6].map(rate), ["17 /s", "8,012 /s", "12.3 k/s", "9.87 M/s"]);
        assert_eq!([99_999, 460_251, 16_141_181].map(short_count), ["99,999", "460 k", "16.1 M"]);
        assert_eq!([64, 4 << 20].map(bytes), ["64 B", "4 MiB"]);
        let sizes = [999, 1_000, 1 << 20, 1_000 << 10, 123_456_789, u64::MAX].map(short_bytes);
        assert_eq!(sizes, ["999 B", "0.98 KiB", "1.00 MiB", "0.98 MiB", "118 MiB", "16.0 EiB"]);
        assert_eq!([0.0, 0.001, 0.25, 1.0].map(percent), ["0 %", "<1 %", "25 %", "100 %"]);
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(["640", "0o600", "0660"].map(|text| parse_mode(text).unwrap()), [0o640, 0o600, 0o660]);
        assert!(parse_mode("rw").is_err() && parse_mode("1777").is_err());
    }
}
