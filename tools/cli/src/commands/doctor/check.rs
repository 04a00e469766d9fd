//! What a check says: a verdict, what was found, why it matters and how to mend it.

use serde::Serialize;

/// How well a part of the host suits memlane. In order: the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Nothing to do.
    Ok,
    /// It could not be seen from here, or it isn't there.
    Unknown,
    /// memlane works, but slower or less evenly than it could.
    Warn,
    /// memlane does not work here, or will soon fail.
    Bad,
}

impl Verdict {
    /// The word for it, in text and in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// Checks that are shown together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Group {
    Memory,
    Processors,
    Kernel,
    Cgroup,
}

impl Group {
    /// Its heading.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Memory => "MEMORY",
            Self::Processors => "PROCESSORS",
            Self::Kernel => "KERNEL",
            Self::Cgroup => "CGROUP",
        }
    }
}

/// What a check is about, whatever it finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) group: Group,
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// Why it matters for memlane, in one line.
    pub(super) why: &'static str,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    pub(super) why: &'static str,
    /// What to do, a line each: a command, or where it depends on what the host is, "in a container: …" and the like.
    /// Empty where there is nothing to mend.
    pub(super) mend: Vec<String>,
}

impl Subject {
    pub(super) fn ok(self, found: impl Into<String>) -> Check {
        self.verdict(Verdict::Ok, found, Vec::new())
    }

    pub(super) fn unknown(self, found: impl Into<String>) -> Check {
        self.verdict(Verdict::Unknown, found, Vec::new())
    }

    pub(super) fn warn(self, found: impl Into<String>, mend: Vec<String>) -> Check {
        self.verdict(Verdict::Warn, found, mend)
    }

    pub(super) fn bad(self, found: impl Into<String>, mend: Vec<String>) -> Check {
        self.verdict(Verdict::Bad, found, mend)
    }

    /// A check with any verdict.
    pub(super) fn verdict(self, verdict: Verdict, found: impl Into<String>, mend: Vec<String>) -> Check {
        let Self { group, name, why } = self;
        Check { name, group, verdict, found: found.into(), why, mend }
    }
}
