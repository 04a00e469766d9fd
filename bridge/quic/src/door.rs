//! Who may begin to shake hands: so many at once, and so many of one address, at once and a second. A handshake costs about a millisecond of a processor, and whoever has no certificate can ask for one.

use crate::link::lock;
use crate::transport::Transport;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Addresses that are remembered at most: more at a time are one crowd.
const ADDRESSES_MAX: usize = 4096;

/// Where connections come in.
#[derive(Debug, Default)]
pub(crate) struct Door(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    under_way: u32,
    addresses: HashMap<IpAddr, Visits>,
}

/// Handshakes of one address.
#[derive(Clone, Copy, Debug)]
struct Visits {
    under_way: u32,
    /// How many more may begin, as of `at`.
    left: f64,
    at: Instant,
}

/// A handshake that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    door: Arc<Door>,
    from: IpAddr,
}

/// One's network, of an address of IPv6: whoever has one address of it has all.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

impl Door {
    /// Whether so many shake hands that who comes has to show that its address is its own.
    pub(crate) fn is_crowded(&self, limits: &Transport) -> bool {
        lock(&self.0).under_way >= limits.handshakes_max / 2
    }

    /// Lets one in, or says why not.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr, limits: &Transport) -> Result<Pass, &'static str> {
        self.enter_at(from, limits, Instant::now())
    }

    fn enter_at(self: &Arc<Self>, from: IpAddr, limits: &Transport, now: Instant) -> Result<Pass, &'static str> {
        let from = place(from);
        let mut inside = lock(&self.0);
        let per_second = f64::from(limits.handshakes_per_second);
        if inside.under_way >= limits.handshakes_max {
            return Err("too many shake hands at once");
        }
        if inside.addresses.len() >= ADDRESSES_MAX {
            inside.addresses.retain(|_, visits| visits.under_way > 0 || visits.left_at(now, per_second) < per_second);
            if inside.addresses.len() >= ADDRESSES_MAX && !inside.addresses.contains_key(&from) {
                return Err("handshakes come from too many addresses");
            }
        }
        let visits = inside.addresses.entry(from).or_insert(Visits { under_way: 0, left: per_second, at: now });
        if visits.under_way >= limits.handshakes_of_address_max {
            return Err("too many from its address shake hands at once");
        }
        let left = visits.left_at(now, per_second);
        if left < 1.0 {
            return Err("it, or another from its address, connects too often");
        }
        *visits = Visits { under_way: visits.under_way + 1, left: left - 1.0, at: now };
        inside.under_way += 1;
        drop(inside);
        Ok(Pass { door: Arc::clone(self), from })
    }
}

impl Visits {
    fn left_at(&self, now: Instant, per_second: f64) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * per_second).min(per_second)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = lock(&self.door.0);
        inside.under_way -= 1;
        if let Some(visits) = inside.addresses.get_mut(&self.from) {
            visits.under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    fn limits() -> Transport {
        Transport { handshakes_max: 8, handshakes_of_address_max: 3, handshakes_per_second: 4, ..Transport::default() }
    }

    fn v4(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn one_address_gets_so_many_at_once_and_a_second_and_others_get_theirs() {
        let (door, limits, begin) = (Arc::new(Door::default()), limits(), Instant::now());
        let enter = |from, at: Duration| door.enter_at(from, &limits, begin + at);
        let held: Vec<_> = (0..3).map(|_| enter(v4(1), Duration::ZERO).unwrap()).collect();
        assert_eq!(enter(v4(1), Duration::ZERO).unwrap_err(), "too many from its address shake hands at once");
        drop(held);
        drop(enter(v4(1), Duration::ZERO).unwrap());
        assert!(enter(v4(1), Duration::ZERO).is_err(), "four in this second");
        enter(v4(2), Duration::ZERO).unwrap();
        enter(v4(1), Duration::from_millis(250)).unwrap();
        assert!(enter(v4(1), Duration::from_millis(260)).is_err());
        // The addresses of a network of IPv6 are one.
        for last in 0..4 {
            drop(enter(Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, last).into(), Duration::ZERO).unwrap());
        }
        assert!(enter(Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 1, 2, 3, 4).into(), Duration::ZERO).is_err());
    }

    #[test]
    fn many_addresses_get_so_many_at_once_in_all_and_are_forgotten() {
        let (door, limits, begin) = (Arc::new(Door::default()), limits(), Instant::now());
        let held: Vec<_> = (0..8).map(|last| door.enter_at(v4(last), &limits, begin).unwrap()).collect();
        assert!(door.is_crowded(&limits) && door.enter_at(v4(99), &limits, begin).is_err());
        drop(held);
        assert!(!door.is_crowded(&limits));
        for number in 0..20_000_u32 {
            let at = begin + Duration::from_millis(number.into());
            drop(door.enter_at(Ipv4Addr::from(number + (11 << 24)).into(), &limits, at).unwrap());
            assert!(lock(&door.0).addresses.len() <= ADDRESSES_MAX);
        }
    }
}
