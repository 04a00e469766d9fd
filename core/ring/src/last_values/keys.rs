//! Registers keys, so that a message whose key has no place in the table is refused before it is published.
//!
//! A key takes three stores, in this order: its entry, the count of keys, and the word of the index. Who dies before the second leaves
//! an entry that the next key takes; who dies between the second and the third leaves a key that isn't in the index, which whoever
//! registers the next one puts there. So no place is lost, and the index never names an entry that isn't whole.
//!
//! Keys are registered by the one publisher, or under the lease, by which publishers reclaim, too. Ordering: KEYED (release store of the
//! index word, acquire load). A key is registered before its message is committed, so whoever folds the message finds it.

use super::Table;
use super::layout::{hash, word_of};
use super::table::Damaged;
use crate::error::ClaimError;
use crate::extension;
use crate::layout::control;
use crate::many::ManyPublisher;
use crate::memory::{Log, State};
use crate::one::OnePublisher;
use memlane_shm::crash_point;
use memlane_shm::sync::{Ordering, WORD_BYTES, spin_hint};

/// How often a publisher tries to get the lease for a new key, which others have for microseconds.
const LEASE_TRIES: u32 = 200;
/// How many of the tries come without giving the core away.
const LEASE_SPINS: u32 = 100;

impl From<Damaged> for ClaimError {
    fn from(_: Damaged) -> Self {
        Self::Corrupt
    }
}

impl Table {
    /// The entry of `key`, or else where in the index it would be named.
    pub(super) fn find(&self, key: &[u8]) -> Result<Result<u32, u64>, Damaged> {
        let hash = hash(key);
        for place in 0..=self.places.index_mask {
            let place = (hash.wrapping_add(place)) & self.places.index_mask;
            // KEYED (acquire) pairs with the release in `name`.
            let word = self.index(place).load(Ordering::Acquire);
            if word == 0 {
                return Ok(Err(place));
            }
            let number = (word as u32).wrapping_sub(1);
            if number >= self.places.keys_max {
                return Err(Damaged);
            }
            if word >> 32 == hash >> 32 && self.has_key(number, key)? {
                return Ok(Ok(number));
            }
        }
        Err(Damaged)
    }

    fn has_key(&self, number: u32, key: &[u8]) -> Result<bool, Damaged> {
        let key_bytes = self.checked_key_bytes(number)?;
        let mut words = key.chunks(WORD_BYTES).enumerate();
        let is_word = |(word, chunk)| self.key_word(number, word).load(Ordering::Relaxed) == word_of(chunk);
        Ok(key_bytes == key.len() as u64 && words.all(is_word))
    }

    fn checked_key_bytes(&self, number: u32) -> Result<u64, Damaged> {
        let key_bytes = self.key_bytes(number).load(Ordering::Relaxed);
        if key_bytes <= self.places.key_bytes_max { Ok(key_bytes) } else { Err(Damaged) }
    }

    /// Gives `key` a place, unless it has one. The caller is the only one who does.
    pub(super) fn register(&self, key: &[u8]) -> Result<(), ClaimError> {
        let count = self.keys().load(Ordering::Acquire);
        if count > u64::from(self.places.keys_max) {
            return Err(ClaimError::Corrupt);
        }
        if let Some(last) = count.checked_sub(1) {
            self.finish(last as u32)?;
        }
        let Err(place) = self.find(key)? else { return Ok(()) };
        if count == u64::from(self.places.keys_max) {
            return Err(ClaimError::KeysFull);
        }
        let number = count as u32;
        self.key_bytes(number).store(key.len() as u64, Ordering::Relaxed);
        for (word, chunk) in key.chunks(WORD_BYTES).enumerate() {
            self.key_word(number, word).store(word_of(chunk), Ordering::Relaxed);
        }
        crash_point!("keys.written");
        self.keys().store(count + 1, Ordering::Release);
        crash_point!("keys.counted");
        self.name(place, number, key);
        Ok(())
    }

    /// Names entry `number`, which was counted last, in the index, unless whoever registered it lived to do so.
    fn finish(&self, number: u32) -> Result<(), Damaged> {
        let key_bytes = self.checked_key_bytes(number)? as usize;
        let words = (0..key_bytes.div_ceil(WORD_BYTES)).map(|word| self.key_word(number, word).load(Ordering::Relaxed));
        let mut key: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        key.truncate(key_bytes);
        if let Err(place) = self.find(&key)? {
            self.name(place, number, &key);
        }
        Ok(())
    }

    fn name(&self, place: u64, number: u32, key: &[u8]) {
        let word = (hash(key) >> 32) << 32 | (u64::from(number) + 1);
        // KEYED (release) pairs with the acquire in `find`.
        self.index(place).store(word, Ordering::Release);
    }
}

/// What a message needs to be kept: its key, and whether that has a place already. `None` for a message without a key.
fn needed<'a>(log: &Log, extensions: &'a [u8], payload_bytes: usize) -> Result<Option<(&'a [u8], bool)>, ClaimError> {
    let Some(table) = &log.last else { return Ok(None) };
    // What can't be read has no key that anybody could ask for.
    let Ok(Some(key)) = extension::fields_of(extensions).key() else { return Ok(None) };
    if (extensions.len() as u64).saturating_add(payload_bytes as u64) > table.places.message_bytes_max {
        return Err(ClaimError::KeyedTooLong);
    }
    if key.len() as u64 > table.places.key_bytes_max {
        return Err(ClaimError::KeyTooLong);
    }
    Ok(Some((key, table.find(key)?.is_ok())))
}

/// Gives `key` a place in the table of `log`.
fn register(log: &Log, key: &[u8]) -> Result<(), ClaimError> {
    match log.state() {
        State::Forked => return Err(ClaimError::Forked),
        State::Removed => return Err(ClaimError::Removed),
        State::Live => {}
    }
    log.last.as_ref().map_or(Ok(()), |table| table.register(key))
}

impl OnePublisher {
    /// Sees to it that a message with these extensions and a payload of so many bytes can be kept, if it has a key.
    ///
    /// Cost: a look at the index; for a new key some stores. Errors: [`ClaimError`].
    pub(crate) fn keep_key(&mut self, extensions: &[u8], payload_bytes: usize) -> Result<(), ClaimError> {
        match needed(&self.log, extensions, payload_bytes)? {
            Some((key, false)) => register(&self.log, key),
            _ => Ok(()),
        }
    }
}

impl ManyPublisher {
    /// As [`OnePublisher::keep_key`]. A new key takes the lease; it is `Full` if somebody has that all the while.
    pub(crate) fn keep_key(&mut self, extensions: &[u8], payload_bytes: usize) -> Result<(), ClaimError> {
        let Some((key, false)) = needed(&self.log, extensions, payload_bytes)? else { return Ok(()) };
        for turn in 0..LEASE_TRIES {
            let lease = self.log.control(control::LEASE);
            match lease.compare_exchange(0, u64::from(self.me) + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    let outcome = register(&self.log, key);
                    self.log.control(control::LEASE).store(0, Ordering::Release);
                    return outcome;
                }
                Err(holder) => {
                    let holder = u32::try_from(holder - 1).map_err(|_| ClaimError::Corrupt)?;
                    if holder >= self.log.geometry.publishers_max {
                        return Err(ClaimError::Corrupt);
                    }
                    self.peers.bury_publisher(&self.log, holder);
                }
            }
            if turn < LEASE_SPINS { spin_hint() } else { std::thread::yield_now() }
        }
        Err(ClaimError::Full)
    }
}
