//! Participants of a topic as `info`, `stat` and `top` show them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use memlane::{Participant, Role};
use serde::Serialize;

use super::table::{Lean, Table};
use super::units;

/// A participant. What it counts began when it came; what its role doesn't have is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    #[serde(serialize_with = "word_of_role")]
    pub(super) role: Role,
    pub(super) slot: u32,
    pub(super) pid: u64,
    /// The name of its program, if that can be seen from here.
    pub(super) program: Option<String>,
    /// As it was given by the application.
    pub(super) name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    pub(super) since_unix_ns: u64,
    pub(super) active_unix_ns: u64,
    pub(super) messages: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lag_bytes: Option<u64>,
    #[serde(flatten)]
    pub(super) publishing: Option<Publishing>,
    #[serde(flatten)]
    pub(super) losses: Option<Losses>,
}

/// What publishers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Publishing {
    pub(super) log_bytes: u64,
    /// Publishes that found no room.
    pub(super) full: u64,
    /// How long they waited for room.
    pub(super) held_ns: u64,
    /// Whether one waits now.
    pub(super) is_held: bool,
}

/// What observers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Losses {
    pub(super) losses: u64,
    pub(super) lost_bytes: u64,
}

fn word_of_role<S: serde::Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role_word(*role))
}

/// The word for what a participant does.
pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Publisher => "publisher",
        Role::Subscriber => "subscriber",
        Role::Observer => "observer",
    }
}

impl Member {
    pub(super) fn of(one: &Participant, tail: u64) -> Self {
        // Of a process of another namespace this says nothing, or the name of a stranger; the pid is shown beside it.
        let program = std::fs::read_to_string(format!("/proc/{}/comm", one.pid)).ok();
        let publishing =
            Publishing { log_bytes: one.log_bytes, full: one.full, held_ns: one.held_ns, is_held: one.is_held };
        let losses = Losses { losses: one.losses, lost_bytes: one.lost_bytes };
        Self {
            role: one.role,
            slot: one.slot,
            pid: one.pid,
            program: program.map(|name| name.trim_end().to_owned()),
            name: one.label.name().to_owned(),
            tags: one.label.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            since_unix_ns: one.since_unix_ns,
            active_unix_ns: one.active_unix_ns,
            messages: one.messages,
            position: one.position,
            lag_bytes: one.position.map(|position| tail.saturating_sub(position)),
            publishing: (one.role == Role::Publisher).then_some(publishing),
            losses: (one.role == Role::Observer).then_some(losses),
        }
    }

    /// What people know it by: its name, else that of its program.
    pub(super) fn called(&self) -> &str {
        if self.name.is_empty() { self.program.as_deref().unwrap_or("?") } else { &self.name }
    }

    /// Its tags, as they were given on a command line.
    pub(super) fn tags(&self) -> String {
        let tags: Vec<_> = self.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        tags.join(" ")
    }
}

/// How long ago a moment was, given in nanoseconds since 1970: `12 s`. A moment that is to come was just now.
pub(super) fn ago(unix_ns: u64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_ns);
    age(then.elapsed().unwrap_or_default())
}

/// A span in whole numbers of its largest unit: `12 s`, `5 m`, `3 h`, `9 d`.
pub(super) fn age(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Members of one role, a row each.
pub(super) fn member_table(head: &str, members: &[Member]) -> Table {
    let role = members.first().map_or(Role::Subscriber, |member| member.role);
    let mut columns = vec![(head, Lean::Right), ("NAME", Lean::Left), ("PID", Lean::Right), ("PROGRAM", Lean::Left)];
    columns.push(("MESSAGES", Lean::Right));
    let own: &[&str] = match role {
        Role::Publisher => &["BYTES", "FULL", "HELD"],
        Role::Subscriber => &["POSITION", "LAG"],
        Role::Observer => &["POSITION", "LAG", "LOST"],
    };
    columns.extend(own.iter().map(|name| (*name, Lean::Right)));
    columns.extend([("ACTIVE", Lean::Right), ("SINCE", Lean::Right), ("TAGS", Lean::Left)]);
    let mut table = Table::new(&columns);
    for member in members {
        let program = member.program.clone().unwrap_or_else(|| "?".to_owned());
        let mut row = vec![member.slot.to_string(), member.name.clone(), member.pid.to_string(), program];
        row.push(units::count(member.messages));
        if let Some(publishing) = member.publishing {
            let held = units::nanoseconds(publishing.held_ns);
            let held = if publishing.is_held { format!("{held}, now too") } else { held };
            row.extend([units::bytes(publishing.log_bytes), units::count(publishing.full), held]);
        } else {
            row.push(member.position.map_or_else(|| "joining".to_owned(), |position| position.to_string()));
            row.push(member.lag_bytes.map_or_else(String::new, units::bytes));
        }
        row.extend(member.losses.map(|losses| units::bytes(losses.lost_bytes)));
        row.extend([ago(member.active_unix_ns), ago(member.since_unix_ns), member.tags()]);
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let ages = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(ages, ["0 s", "119 s", "2 m", "119 m", "2 h", "47 h", "2 d"]);
    }
}
