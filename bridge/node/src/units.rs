//! Sizes, spans of time and counts, as people write them: the same words in a configuration as at the command line.

use std::time::Duration;

use bytesize::ByteSize;
use memlane::journal::SyncPolicy;

/// The longest span that is taken: a year. Longer ones would overflow clocks.
const SECONDS_MAX: f64 = 366.0 * 24.0 * 3600.0;

/// A size in bytes: `64`, `4KiB`, `1.5MiB`, `2MB`. Errors: what is wrong, and what would be right.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| {
        "not a size: give bytes, such as 4096, or a number with KiB, MiB, GiB (powers of 1024) or kB, MB, GB".to_owned()
    })
}

/// A span of time: `250ms`, `5s`, `1m 30s`; a bare number is seconds. Errors: what is wrong, and what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let complaint = || "not a span of time: give a number with ms, s, m or h, such as 500ms or 2s".to_owned();
    let span = match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| complaint())?,
        Err(_) => humantime::parse_duration(text).map_err(|_| complaint())?,
    };
    if span.as_secs_f64() > SECONDS_MAX { Err("longer than a year".to_owned()) } else { Ok(span) }
}

/// A number of things: `1000`, `250k`, `10M`. Errors: what is wrong, and what would be right.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let complaint = || "not a number: give a whole one, such as 1000, 250k or 10M".to_owned();
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        _ => (text, 1_u64),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(complaint)
}

/// When what is recorded is made to survive a loss of power: `batch`, `none`, or a span of time. Errors: what would be right.
pub fn parse_sync(text: &str) -> Result<SyncPolicy, String> {
    match text {
        "batch" => Ok(SyncPolicy::Batch),
        "none" => Ok(SyncPolicy::None),
        span => match parse_duration(span) {
            Ok(Duration::ZERO) => Err("never at rest: give batch, to sync each batch".to_owned()),
            Ok(span) => Ok(SyncPolicy::Interval(span)),
            Err(_) => Err("give batch, none, or a span of time such as 100ms".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let sizes = ["0", "64", "4KiB", "4 MiB", "1.5MiB", "2MB", "64GiB"].map(|text| parse_bytes(text).unwrap());
        assert_eq!(sizes, [0, 64, 4096, 4 << 20, 3 << 19, 2_000_000, 64 << 30]);
        for text in ["", "x", "-1", "4 QiB", "1e400"] {
            assert!(parse_bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn spans_of_time_are_read_as_people_write_them() {
        let spans = ["5", "0.25", "250ms", "1m 30s"].map(|text| parse_duration(text).unwrap().as_millis());
        assert_eq!(spans, [5_000, 250, 250, 90_000]);
        for text in ["", "x", "-1", "5 parsecs", "nan", "inf", "1e300", "500000h"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn counts_are_whole_numbers() {
        assert_eq!(
            ["0", "1000", "250k", "10M"].map(|text| parse_count(text).unwrap()),
            [0, 1_000, 250_000, 10_000_000]
        );
        for text in ["", "k", "-1", "1.5", "99999999999999999999", "18446744073709551615k"] {
            assert!(parse_count(text).is_err(), "{text:?}");
        }
    }
}
