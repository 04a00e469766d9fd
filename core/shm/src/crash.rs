//! Named places where a test has the process killed or stopped, to show that the others go on.
//!
//! [`point!`](crate::crash_point) compiles to nothing unless the feature `crash-points` is on, which only the tests turn
//! on. With it, a process started with `MEMLANE_CRASH=name` kills itself (SIGKILL) when it comes by that name;
//! `MEMLANE_CRASH=name:7` the seventh time; `MEMLANE_CRASH=name:7:stop` stops itself (SIGSTOP) instead. Several, with commas
//! between them, count each for itself.
//!
//! `MEMLANE_SLEEP=for-good` has sleepers rely on being woken alone ([`sleeps_for_good`]): a wake-up that is lost is then a hang that a test
//! notices, and not a quarter of a second that it doesn't.
//!
//! In a model (`--cfg loom`) a thread that was armed (`model::arm`) dies there by unwinding, and its drop code does not run.

/// Whether the places are in this build, where they slow the hot path down.
pub const IS_COMPILED_IN: bool = cfg!(any(feature = "crash-points", loom));

/// Every place that has a name, in the order of a message's life.
pub const POINTS: &[&str] = &[
    "create.staged",
    "create.linked",
    "create.named",
    "create.sized",
    "create.before_rename",
    "attach.mapped",
    "attach.locked",
    "attach.announced",
    "claim.claimed",
    "claim.tail_moved",
    "write.half",
    "commit.before",
    "commit.after",
    "batch.half",
    "wake.before",
    "wake.bell",
    "wake.rung",
    "reclaim.leased",
    "reclaim.head_moved",
    "reclaim.half_stamped",
    "reclaim.before_limit",
    "recover.before_padding",
    "source.named",
    "source.leased",
    "source.taken_down",
    "keys.written",
    "keys.counted",
    "fold.half",
    "fold.before",
    "fold.after",
    "join.announced",
    "join.gated",
    "read.holding",
    "release.before",
    "release.after",
    "leave.before",
    "leave.marked",
    "leave.gated",
    "leave.slot_free",
    "remove.hidden",
    "remove.unlinked",
    "durable.said",
    "journal.before_write",
    "journal.half_written",
    "journal.data_written",
    "journal.recorded",
    "journal.synced",
    "journal.closed",
    "journal.segment_made",
    "journal.rolled",
    "journal.manifest_written",
    "journal.recovering",
    "journal.pruning",
    "journal.compressing",
    "journal.compressed",
    "journal.replaced",
    "offset.half_written",
    "offset.written",
    "snapshot.written",
    "snapshot.saved",
];

/// Whether sleeps are to go on until somebody ends them, where they end after a while to be safe.
#[must_use]
pub fn sleeps_for_good() -> bool {
    #[cfg(all(feature = "crash-points", not(loom)))]
    return armed::sleeps_for_good();
    #[cfg(not(all(feature = "crash-points", not(loom))))]
    false
}

/// Marks a named place. See [`crate::crash`].
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(any(feature = "crash-points", loom))]
        $crate::crash::pass($name);
    };
}

#[cfg(all(feature = "crash-points", not(loom)))]
pub use armed::pass;

#[cfg(loom)]
pub use model::pass;

#[cfg(all(feature = "crash-points", not(loom)))]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Plan {
        name: String,
        passes_left: AtomicU64,
        signal: libc::c_int,
    }

    /// Comes by the place `name`.
    pub fn pass(name: &str) {
        static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
        let plans =
            PLANS.get_or_init(|| std::env::var("MEMLANE_CRASH").map_or_else(|_| Vec::new(), |text| parse(&text)));
        for plan in plans {
            if plan.name == name && plan.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
                // SAFETY: sends a signal to this very thread, which gets it before the call returns; touches no memory.
                unsafe { libc::raise(plan.signal) };
            }
        }
    }

    pub(super) fn sleeps_for_good() -> bool {
        static FOR_GOOD: OnceLock<bool> = OnceLock::new();
        *FOR_GOOD.get_or_init(|| std::env::var("MEMLANE_SLEEP").is_ok_and(|text| text == "for-good"))
    }

    fn parse(text: &str) -> Vec<Plan> {
        let parse_one = |text: &str| {
            let mut parts = text.split(':');
            let name = parts.next().unwrap_or_default().to_owned();
            assert!(super::POINTS.contains(&name.as_str()), "MEMLANE_CRASH names no crash point: {name}");
            let passes = parts.next().map_or(1, |count| count.parse().expect("MEMLANE_CRASH=name:count"));
            let signal = if parts.next() == Some("stop") { libc::SIGSTOP } else { libc::SIGKILL };
            Plan { name, passes_left: AtomicU64::new(passes), signal }
        };
        text.split(',').map(parse_one).collect()
    }
}

/// Death in a model.
#[cfg(loom)]
pub mod model {
    use std::cell::Cell;

    loom::thread_local! {
        static ARMED: Cell<Option<&'static str>> = Cell::new(None);
    }

    /// What a thread that dies at a crash point unwinds with.
    #[derive(Debug)]
    pub struct Died;

    /// Has the calling thread of the model die when it next comes by the place `name`.
    pub fn arm(name: &'static str) {
        ARMED.with(|armed| armed.set(Some(name)));
    }

    /// Lets the calling thread live.
    pub fn disarm() {
        ARMED.with(|armed| armed.set(None));
    }

    /// Comes by the place `name`.
    pub fn pass(name: &'static str) {
        let dies = ARMED.with(|armed| armed.get() == Some(name));
        if dies {
            ARMED.with(|armed| armed.set(None));
            std::panic::resume_unwind(Box::new(Died));
        }
    }
}
