//! Rate limits, as people write and read them: `1000/s`, `1000/s:50`, `1MiB/s:64KiB`.

use memlane::{Rate, RateLimit};
use serde::Serialize;

use super::units;

/// A limit of messages or of bytes, with a burst; without one, a second's worth may pass at once.
pub(super) fn parse_rate_limit(text: &str) -> Result<RateLimit, String> {
    let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
    let per_second = rate.strip_suffix("/s").ok_or(
        "give messages per second as in 1000/s, or bytes as in 1MiB/s, and a burst as in 1000/s:50 or 1MiB/s:64KiB",
    )?;
    let is_of_bytes = per_second.ends_with('B');
    let read = if is_of_bytes { units::parse_bytes } else { units::parse_count };
    let per_second = read(per_second)?;
    let burst = burst.map_or(Ok(per_second), read)?;
    let none = RateLimit::default();
    let limit = if is_of_bytes { none.bytes(per_second, burst) } else { none.messages(per_second, burst) };
    limit.check().map_err(|error| error.to_string())?;
    Ok(limit)
}

/// What was given, together; of two for the same, the last.
pub(super) fn together(given: &[RateLimit]) -> RateLimit {
    given.iter().fold(RateLimit::default(), |all, one| RateLimit {
        messages: one.messages.or(all.messages),
        bytes: one.bytes.or(all.bytes),
    })
}

/// A limit in JSON: what isn't limited isn't there.
#[derive(Debug, Serialize)]
pub(super) struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Figures>,
}

#[derive(Debug, Serialize)]
struct Figures {
    per_second: u64,
    burst: u64,
}

impl Limits {
    /// `None` if nothing is limited.
    pub(super) fn of(limit: &RateLimit) -> Option<Self> {
        let figures = |rate: Option<Rate>| rate.map(|Rate { per_second, burst }| Figures { per_second, burst });
        (!limit.is_none()).then(|| Self { messages: figures(limit.messages), bytes: figures(limit.bytes) })
    }

    /// In words.
    pub(super) fn words(limits: Option<&Self>) -> String {
        let Some(Self { messages, bytes }) = limits else { return "none".to_owned() };
        let part = |part: &Option<Figures>, figure: fn(u64) -> String, unit| {
            let Figures { per_second, burst } = part.as_ref()?;
            Some(format!("{}{unit}/s, {} at once", figure(*per_second), figure(*burst)))
        };
        let parts = [part(messages, units::count, " messages"), part(bytes, units::bytes, "")];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        let none = RateLimit::default;
        assert_eq!(parse_rate_limit("1000/s"), Ok(none().messages(1000, 1000)));
        assert_eq!(parse_rate_limit("10k/s:50"), Ok(none().messages(10_000, 50)));
        assert_eq!(parse_rate_limit("1MiB/s:64KiB"), Ok(none().bytes(1 << 20, 1 << 16)));
        assert_eq!(parse_rate_limit("1MB/s"), Ok(none().bytes(1_000_000, 1_000_000)));
        for text in ["", "1000", "0/s", "1000/s:", "1000/s:0", "1000/s:x", "x/s", "1/s:1000k", "-1/s"] {
            assert!(parse_rate_limit(text).is_err(), "{text:?}");
        }
        let both = together(&["5/s", "1KiB/s", "7/s:2"].map(|text| parse_rate_limit(text).unwrap()));
        assert_eq!(both, none().messages(7, 2).bytes(1024, 1024));
    }

    #[test]
    fn limits_are_shown_in_words() {
        let words = |limit: RateLimit| Limits::words(Limits::of(&limit).as_ref());
        assert_eq!(words(RateLimit::default()), "none");
        let both = RateLimit::default().messages(1000, 50).bytes(1 << 20, 1 << 16);
        assert_eq!(words(both), "1,000 messages/s, 50 at once; 1 MiB/s, 64 KiB at once");
    }
}
