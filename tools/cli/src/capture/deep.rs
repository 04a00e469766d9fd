//! Decodes messages of IEX DEEP 1.0, as far as a person wants to see them.
//!
//! ```text
//!  0      1       2          10           18         22          30
//!  +------+-------+----------+------------+----------+-----------+--------------+
//!  | kind | flags | time i64 | symbol [8] | size u32 | price i64 | trade id i64 |
//!  +------+-------+----------+------------+----------+-----------+--------------+
//!  |<- all kinds ----------->|<- not 'S'->|<- 'T' 'B' '5' '8' -->|<- 'T' 'B' -->|
//! ```
//!
//! All little-endian. Times are nanoseconds since the Unix epoch, prices have 4 implied decimals, symbols are
//! ASCII and padded with spaces. IEX may make messages longer at the end, so more bytes are no error.

use std::fmt;

/// Where the fields lie.
pub(crate) mod layout {
    pub(crate) const KIND: usize = 0;
    pub(crate) const FLAGS: usize = 1;
    pub(crate) const TIME: usize = 2;
    pub(crate) const SYMBOL: usize = 10;
    pub(crate) const SIZE: usize = 18;
    pub(crate) const PRICE: usize = 22;
    pub(crate) const TRADE_ID: usize = 30;
    /// The length of a '5' and an '8'.
    pub(crate) const PRICE_LEVEL_BYTES: usize = 30;
    /// The length of a 'T'.
    pub(crate) const TRADE_REPORT_BYTES: usize = 38;

    const _: () = assert!(TIME + size_of::<i64>() == SYMBOL);
    const _: () = assert!(SYMBOL + size_of::<[u8; 8]>() == SIZE);
    const _: () = assert!(SIZE + size_of::<u32>() == PRICE);
    const _: () = assert!(PRICE + size_of::<i64>() == PRICE_LEVEL_BYTES);
    const _: () = assert!(TRADE_ID + size_of::<i64>() == TRADE_REPORT_BYTES);
}

/// The kinds of DEEP 1.0 that carry a symbol: all but 'S', the system event.
const KINDS_WITH_SYMBOL: &[u8] = b"58ABDEHIOPTX";
/// The kinds that carry a size and a price at the same place.
const KINDS_WITH_SIZE_AND_PRICE: &[u8] = b"58BT";

/// Why bytes are not a DEEP message: report them, and go on with the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeepError {
    /// Shorter than the fields of its kind: the sender or the recorder is at fault.
    #[error("a DEEP message of {found_bytes} bytes, where its kind has at least {needed_bytes}")]
    TooShort {
        /// How many bytes there are.
        found_bytes: usize,
        /// How many the fields take.
        needed_bytes: usize,
    },
    /// The symbol is not ASCII: the message is damaged.
    #[error("the symbol at byte 10 of a DEEP message is not printable ASCII")]
    Symbol,
}

/// A view of one DEEP message. `Display` gives one line: `T 2017-04-25T15:03:18.390000001Z ZIEXT 100 @ 12.3400`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeepMessage<'a> {
    /// 'T' is a trade report, '8' and '5' are price level updates of the buy and the sell side. Kinds that are
    /// not known have neither symbol nor price.
    pub kind: u8,
    /// When it happened at IEX.
    pub time: Time,
    /// Without the padding.
    pub symbol: Option<&'a str>,
    /// Shares, of the trade or left at the price level.
    pub size: Option<u32>,
    /// Of the trade or the price level.
    pub price: Option<Price>,
}

impl<'a> DeepMessage<'a> {
    /// Looks at the bytes of one message, without its length field. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`DeepError`] if the bytes are fewer than the kind's fields, or the symbol is not ASCII.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DeepError> {
        let kind = bytes.first().copied().unwrap_or_default();
        let has_symbol = KINDS_WITH_SYMBOL.contains(&kind);
        let has_price = KINDS_WITH_SIZE_AND_PRICE.contains(&kind);
        Ok(Self {
            kind,
            time: Time(i64::from_le_bytes(field(bytes, layout::TIME)?)),
            symbol: has_symbol.then(|| symbol(bytes)).transpose()?,
            size: has_price.then(|| field(bytes, layout::SIZE).map(u32::from_le_bytes)).transpose()?,
            price: has_price
                .then(|| field(bytes, layout::PRICE).map(|bytes| Price(i64::from_le_bytes(bytes))))
                .transpose()?,
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], DeepError> {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .ok_or(DeepError::TooShort { found_bytes: bytes.len(), needed_bytes: at + N })
}

fn symbol(bytes: &[u8]) -> Result<&str, DeepError> {
    field::<8>(bytes, layout::SYMBOL)?;
    let symbol = bytes[layout::SYMBOL..layout::SIZE].trim_ascii_end();
    match std::str::from_utf8(symbol) {
        Ok(symbol) if symbol.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(symbol),
        _ => Err(DeepError::Symbol),
    }
}

impl fmt::Display for DeepMessage<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind.escape_ascii(), self.time)?;
        if let Some(symbol) = self.symbol {
            write!(formatter, " {symbol}")?;
        }
        if let (Some(size), Some(price)) = (self.size, self.price) {
            write!(formatter, " {size} @ {price}")?;
        }
        Ok(())
    }
}

/// A price in units of 1/10,000 of a dollar. `Display` gives dollars: `12.3400`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(pub i64);

impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        write!(formatter, "{sign}{}.{:04}", units / 10_000, units % 10_000)
    }
}

/// Nanoseconds since the Unix epoch. `Display` gives UTC as in RFC 3339: `2017-04-25T15:03:18.390000001Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NS_PER_SECOND: i64 = 1_000_000_000;
        const SECONDS_PER_DAY: i64 = 86_400;
        let seconds = self.0.div_euclid(NS_PER_SECOND);
        let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
        let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
            second_of_day / 3_600,
            second_of_day / 60 % 60,
            second_of_day % 60,
            self.0.rem_euclid(NS_PER_SECOND),
        )
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts in years that begin in March, so that the leap day is a year's last.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(days_since_epoch: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097; // 400 years
    let days = days_since_epoch + 719_468; // since 0000-03-01
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trade report of IEX's sample capture, put together by hand.
    fn trade_report() -> Vec<u8> {
        let mut bytes = vec![b'T', 0];
        bytes.extend(1_493_132_598_390_000_001_i64.to_le_bytes());
        bytes.extend(b"ZIEXT   ");
        bytes.extend(100_u32.to_le_bytes());
        bytes.extend(123_400_i64.to_le_bytes());
        bytes.extend(7_i64.to_le_bytes());
        bytes
    }

    #[test]
    fn trade_report_is_shown_on_one_line() {
        let bytes = trade_report();
        let message = DeepMessage::parse(&bytes).unwrap();
        assert_eq!(message.to_string(), "T 2017-04-25T15:03:18.390000001Z ZIEXT 100 @ 12.3400");
    }

    #[test]
    fn system_event_has_neither_symbol_nor_price() {
        let message = DeepMessage::parse(b"SO\0\0\0\0\0\0\0\0").unwrap();
        assert_eq!(message.to_string(), "S 1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn unknown_kind_shows_its_time() {
        let message = DeepMessage::parse(&[0x07; 40]).unwrap();
        assert_eq!((message.symbol, message.price), (None, None));
        assert!(message.to_string().starts_with("\\x07 1986-"));
    }

    #[test]
    fn message_cut_at_any_byte_is_refused_unless_only_the_trade_id_is_cut() {
        let bytes = trade_report();
        for length in 0..bytes.len() {
            let parsed = DeepMessage::parse(&bytes[..length]);
            assert_eq!(parsed.is_ok(), length >= layout::TRADE_ID, "{length} bytes: {parsed:?}");
        }
    }

    #[test]
    fn message_that_grew_at_its_end_is_read() {
        let mut bytes = trade_report();
        bytes.extend([0xff; 9]);
        assert_eq!(DeepMessage::parse(&bytes), DeepMessage::parse(&trade_report()));
    }

    #[test]
    fn symbol_that_is_not_printable_is_refused() {
        for damage in [0xff, 0x00, b' ', b'\n'] {
            let mut bytes = trade_report();
            bytes[layout::SYMBOL] = damage;
            assert_eq!(DeepMessage::parse(&bytes), Err(DeepError::Symbol));
        }
    }

    #[test]
    fn prices_have_four_decimals_and_a_sign() {
        assert_eq!(Price(1).to_string(), "0.0001");
        assert_eq!(Price(-12_345).to_string(), "-1.2345");
        assert_eq!(Price(i64::MIN).to_string(), "-922337203685477.5808");
    }

    #[test]
    fn times_are_right_at_leap_days_and_at_both_ends() {
        let day = 86_400_000_000_000;
        assert_eq!(Time(11_016 * day).to_string(), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(Time(11_017 * day - 1).to_string(), "2000-02-29T23:59:59.999999999Z");
        assert_eq!(Time(19_783 * day).to_string(), "2024-03-01T00:00:00.000000000Z");
        assert_eq!(Time(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(Time(i64::MAX).to_string(), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(Time(i64::MIN).to_string(), "1677-09-21T00:12:43.145224192Z");
    }
}
