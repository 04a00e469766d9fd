//! Makes up a market feed that looks like IEX DEEP: the same seed gives the same bytes, on every machine.
//!
//! It stands in where no capture is at hand. Messages come singly, a quarter of a millisecond apart on average,
//! and now and then in bursts of up to 512 that are 2 µs apart, as a market's do when it moves; so a second has
//! about 8,000 messages and the busiest millisecond several hundred.
//!
//! All arithmetic is on integers, so that no machine rounds differently.

use crate::capture::deep::layout;

/// The first message's time: 2025-01-02T14:30:00Z, when New York opens.
const START_NS: u64 = 1_735_828_200_000_000_000;

const GAP_NS_CALM: u64 = 500_000;
const GAP_NS_BURST: u64 = 4_000;
/// One in so many messages that come singly begins a burst.
const MESSAGES_PER_BURST: u64 = 256;
const BURST_MESSAGES_MIN: u64 = 32;
const BURST_MESSAGES_MAX: u64 = 512;

/// A cent, in the units of a DEEP price.
const TICK: i64 = 100;
const PRICE_MIN: i64 = 10_000;
const PRICE_MAX: i64 = 20_000_000;

/// Busy ones first.
const SYMBOLS: [&[u8; 8]; 16] = [
    b"SPY     ",
    b"NVDA    ",
    b"AAPL    ",
    b"TSLA    ",
    b"QQQ     ",
    b"AMZN    ",
    b"MSFT    ",
    b"AMD     ",
    b"META    ",
    b"GOOGL   ",
    b"INTC    ",
    b"BAC     ",
    b"F       ",
    b"XOM     ",
    b"KO      ",
    b"BRK.B   ",
];

/// An endless feed of trade reports ('T', 38 bytes) and price level updates ('8' buy, '5' sell, 30 bytes).
/// A quarter of the messages are trades.
#[derive(Clone, Debug)]
pub struct Feed {
    random: SplitMix64,
    /// When the last message happened.
    time_ns: u64,
    received_ns: u64,
    burst_messages_left: u64,
    /// Of each symbol, in units of 1/10,000 of a dollar.
    prices: [i64; SYMBOLS.len()],
    trade_id: i64,
    message: [u8; layout::TRADE_REPORT_BYTES],
}

impl Feed {
    /// A feed that begins at a fixed time. Seeds that differ give feeds that differ.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let prices = std::array::from_fn(|_| 100_000 + TICK * random.below(40_000) as i64);
        Self {
            random,
            time_ns: START_NS,
            received_ns: START_NS,
            burst_messages_left: 0,
            prices,
            trade_id: 0,
            message: [0; layout::TRADE_REPORT_BYTES],
        }
    }

    /// The next message, with the time at which it would have been received: nanoseconds since the Unix epoch,
    /// never before the last one's. [`DeepMessage`](crate::capture::deep::DeepMessage) reads the bytes.
    ///
    /// Allocates nothing.
    pub fn next_message(&mut self) -> (u64, &[u8]) {
        self.pass_time();
        let symbol = self.random.below(SYMBOLS.len() as u64).min(self.random.below(SYMBOLS.len() as u64)) as usize;
        let steps = self.random.below(5) as i64 - 2;
        self.prices[symbol] = (self.prices[symbol] + steps * TICK).clamp(PRICE_MIN, PRICE_MAX);
        let price = self.prices[symbol];
        match self.random.below(8) {
            0 | 1 => self.trade_report(symbol, price),
            2..=4 => self.price_level(b'8', symbol, price),
            _ => self.price_level(b'5', symbol, price),
        }
    }

    fn pass_time(&mut self) {
        let gap_ns = if self.burst_messages_left > 0 {
            self.burst_messages_left -= 1;
            GAP_NS_BURST
        } else {
            if self.random.below(MESSAGES_PER_BURST) == 0 {
                let spread = BURST_MESSAGES_MAX - BURST_MESSAGES_MIN;
                self.burst_messages_left = BURST_MESSAGES_MIN + self.random.below(spread + 1);
            }
            GAP_NS_CALM
        };
        // From 1 to the limit: half of it on average.
        self.time_ns += 1 + self.random.below(gap_ns);
        let latency_ns = 1_000 + self.random.below(4_000);
        self.received_ns = self.received_ns.max(self.time_ns + latency_ns);
    }

    fn trade_report(&mut self, symbol: usize, price: i64) -> (u64, &[u8]) {
        let size = 1 + self.random.below(500) as u32;
        self.trade_id += 1;
        self.put_common(b'T', symbol, size, price);
        self.message[layout::TRADE_ID..].copy_from_slice(&self.trade_id.to_le_bytes());
        (self.received_ns, &self.message)
    }

    /// One in ten levels goes away: size 0.
    fn price_level(&mut self, kind: u8, symbol: usize, price: i64) -> (u64, &[u8]) {
        let depth = 1 + self.random.below(5) as i64;
        let price = if kind == b'8' { price - depth * TICK } else { price + depth * TICK };
        let size = 100 * self.random.below(10) as u32;
        self.put_common(kind, symbol, size, price);
        (self.received_ns, &self.message[..layout::PRICE_LEVEL_BYTES])
    }

    fn put_common(&mut self, kind: u8, symbol: usize, size: u32, price: i64) {
        let message = &mut self.message;
        message[layout::KIND] = kind;
        // A price level update says here that the event is complete; a trade report, that it is an ordinary one.
        message[layout::FLAGS] = u8::from(kind != b'T');
        message[layout::TIME..layout::SYMBOL].copy_from_slice(&self.time_ns.to_le_bytes());
        message[layout::SYMBOL..layout::SIZE].copy_from_slice(SYMBOLS[symbol]);
        message[layout::SIZE..layout::PRICE].copy_from_slice(&size.to_le_bytes());
        message[layout::PRICE..layout::TRADE_ID].copy_from_slice(&price.to_le_bytes());
    }
}

/// A small random number generator: good enough for made-up data, and of no use for secrets.
///
/// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014), in the form of
/// Sebastiano Vigna's `splitmix64.c` (public domain, <https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `limit`, nearly evenly.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::capture::deep::DeepMessage;

    const COUNT: usize = 200_000;

    /// Everything that a feed says in its first messages, as one number (FNV-1a).
    fn fingerprint(seed: u64, count: usize) -> u64 {
        let mut feed = Feed::new(seed);
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for _ in 0..count {
            let (received_ns, bytes) = feed.next_message();
            for byte in received_ns.to_le_bytes().iter().chain(bytes) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }

    #[test]
    fn same_seed_gives_the_same_bytes_and_another_seed_does_not() {
        assert_eq!(fingerprint(7, 10_000), fingerprint(7, 10_000));
        assert_ne!(fingerprint(7, 10_000), fingerprint(8, 10_000));
    }

    #[test]
    fn bytes_are_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(fingerprint(1, 10_000), 2_083_507_304_330_884_395);
    }

    #[test]
    fn generator_gives_the_numbers_of_its_reference() {
        let mut random = SplitMix64::new(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn decoder_reads_every_message() {
        let mut feed = Feed::new(1);
        let mut counts = BTreeMap::new();
        for _ in 0..COUNT {
            let (received_ns, bytes) = feed.next_message();
            let message = DeepMessage::parse(bytes).unwrap();
            assert_eq!(bytes.len(), if message.kind == b'T' { 38 } else { 30 });
            assert!((message.time.0 as u64) < received_ns);
            assert!(message.price.unwrap().0 > 0);
            assert!(message.size.unwrap() > 0 || message.kind != b'T');
            *counts.entry((message.kind, message.symbol.unwrap().to_owned())).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 3 * SYMBOLS.len(), "every symbol has every kind: {counts:?}");
    }

    #[test]
    fn prices_walk_and_do_not_jump() {
        let mut feed = Feed::new(2);
        let mut last_prices = BTreeMap::<String, i64>::new();
        for _ in 0..COUNT {
            let (_, bytes) = feed.next_message();
            let message = DeepMessage::parse(bytes).unwrap();
            if message.kind == b'T' {
                let price = message.price.unwrap().0;
                let last = last_prices.insert(message.symbol.unwrap().to_owned(), price);
                assert!(last.is_none_or(|last| (price - last).abs() < 100 * TICK));
            }
        }
        assert_eq!(last_prices.len(), SYMBOLS.len());
    }

    #[test]
    fn messages_come_in_bursts_and_never_back_in_time() {
        let mut feed = Feed::new(3);
        let mut by_millisecond = BTreeMap::<u64, u64>::new();
        let mut last_ns = 0;
        for _ in 0..COUNT {
            let (received_ns, _) = feed.next_message();
            assert!(received_ns >= last_ns);
            last_ns = received_ns;
            *by_millisecond.entry(received_ns / 1_000_000).or_default() += 1;
        }
        let seconds = (last_ns - START_NS) / 1_000_000_000;
        let per_second = COUNT as u64 / seconds;
        let peak = *by_millisecond.values().max().unwrap();
        assert!((4_000..16_000).contains(&per_second), "{per_second} messages per second");
        assert!((200..=600).contains(&peak), "{peak} messages in the busiest millisecond");
    }
}
