//! The names of a service's topics, and ids that don't repeat.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// An id that no other client or server has: the process, and a number from its random keys, the time and a count.
pub(super) fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let pid = std::process::id();
    let number = RandomState::new().hash_one((now, pid, COUNT.fetch_add(1, Ordering::Relaxed)));
    format!("{pid}-{number:016x}")
}

/// The number in an id.
pub(super) fn number_of(id: &str) -> u64 {
    id.split_once('-').and_then(|(_, number)| u64::from_str_radix(number, 16).ok()).unwrap_or(0)
}

/// Whether `text` is like an id.
fn is_id(text: &str) -> bool {
    let Some((pid, number)) = text.split_once('-') else { return false };
    !pid.is_empty()
        && pid.bytes().all(|byte| byte.is_ascii_digit())
        && number.len() == 16
        && number.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The presence of a server.
pub(super) fn presence(service: &str, server: &str) -> String {
    format!("{service}.server.{server}")
}

/// A presence that is being made.
pub(super) fn making(service: &str, server: &str) -> String {
    format!("{service}.making.{server}")
}

/// The names of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionName {
    /// All but the last token.
    stem: String,
}

impl ConnectionName {
    pub(super) fn new(service: &str, server: &str, client: &str) -> Self {
        Self { stem: format!("{service}.{server}.{client}") }
    }

    pub(super) fn opening(&self) -> String {
        format!("{}.opening", self.stem)
    }

    pub(super) fn requests(&self) -> String {
        format!("{}.requests", self.stem)
    }

    pub(super) fn replies(&self) -> String {
        format!("{}.replies", self.stem)
    }
}

/// What a topic is to request–reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// The presence of this server.
    Presence(&'a str),
    /// One that is being made.
    Making,
    /// The requests of a client to this server.
    Requests(&'a str, ConnectionName),
    /// Requests that are being made.
    Opening(ConnectionName),
}

/// What a topic of this name is, and of which service; `None` if it is none that says who lives.
pub(super) fn parse(name: &str) -> Option<(&str, Kind<'_>)> {
    let (rest, last) = name.rsplit_once('.')?;
    let (before, second) = rest.rsplit_once('.')?;
    if is_id(last) {
        let kind = match second {
            "server" => Kind::Presence(last),
            "making" => Kind::Making,
            _ => return None,
        };
        return Some((before, kind));
    }
    let (service, server) = before.rsplit_once('.')?;
    if !is_id(server) || !is_id(second) {
        return None;
    }
    let connection = || ConnectionName { stem: rest.to_owned() };
    let kind = match last {
        "requests" => Kind::Requests(server, connection()),
        "opening" => Kind::Opening(connection()),
        _ => return None,
    };
    Some((service, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_they_were_put_together() {
        let (server, client) = (new_id(), new_id());
        assert_ne!(server, client);
        let connection = ConnectionName::new("a.b", &server, &client);
        let kinds = [
            (presence("a.b", &server), Kind::Presence(&server)),
            (making("a.b", &server), Kind::Making),
            (connection.requests(), Kind::Requests(&server, connection.clone())),
            (connection.opening(), Kind::Opening(connection.clone())),
        ];
        for (name, kind) in kinds {
            assert_eq!(parse(&name), Some(("a.b", kind)), "{name}");
        }
    }

    #[test]
    fn an_applications_topics_are_not_taken_for_those_of_a_service() {
        let (server, client) = (new_id(), new_id());
        let replies = ConnectionName::new("a", &server, &client).replies();
        let names = ["a", "a.server", "a.server.5", "a.server.5-7", "a.b.c.requests", "server.x", &server, &replies];
        for name in names {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!(parse(&format!("a.{server}")), None);
        assert_eq!(parse(&format!("a.{server}.requests")), None);
    }
}
