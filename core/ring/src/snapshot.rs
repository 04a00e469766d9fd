//! Who is on a topic, how far, and how much each did: read by whoever may read the files, at no cost to anyone.

use crate::error::TopicError;
use crate::label::Label;
use crate::layout::{slot, status};
use crate::slot::Slot;
use crate::topic::{LOG_FILE, SUBS_FILE, Topic};
use memlane_shm::sync::Ordering;
use memlane_shm::{Access, LockFile, MapOptions, SegmentError};

/// What a participant does on its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It publishes.
    Publisher,
    /// It subscribes, and holds publishers back.
    Subscriber,
    /// It subscribes without holding anyone up, and took a place only to be seen.
    Observer,
}

/// How often a slot's holders came, and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comings {
    /// How many holders came.
    pub came: u64,
    /// How many of them are known to have died, by whoever came after them or cleared up.
    pub died: u64,
    /// Whether the last one neither left nor was found dead: it lives, or nobody has been at the slot since its death.
    pub is_taken: bool,
}

/// One who takes part in a topic. What it counts is its own word for it: another process may write anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// What it does.
    pub role: Role,
    /// Its slot among those of its role.
    pub slot: u32,
    /// Its process id, in its own namespace.
    pub pid: u64,
    /// Its name and tags; empty if it gave none.
    pub label: Label,
    /// When it came, in nanoseconds since 1970.
    pub since_unix_ns: u64,
    /// When it last looked at the clock: at its coming, after each sleep, after each wake-up of a sleeper, every 64th of a lap. Whoever spins without
    /// publishing more than that shows by its counts that it moves.
    pub active_unix_ns: u64,
    /// Where a subscriber reads next; `None` for publishers, and while joining.
    pub position: Option<u64>,
    /// Messages that it published, or received.
    pub messages: u64,
    /// Publishers: bytes of the log that these take, with headers and padding.
    pub log_bytes: u64,
    /// Publishers: how many publishes found no room.
    pub full: u64,
    /// Publishers: for how long it waited for room, in nanoseconds; with the present wait.
    pub held_ns: u64,
    /// Publishers: whether it waits for room now.
    pub is_held: bool,
    /// Observers: how often it lost messages.
    pub losses: u64,
    /// Observers: how many bytes of the log it lost.
    pub lost_bytes: u64,
    /// Its slot's history.
    pub comings: Comings,
}

/// A topic at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The oldest position that can still be read.
    pub head: u64,
    /// The end of what was published.
    pub tail: u64,
    /// Messages published since the topic was made.
    pub messages: u64,
    /// Claims of dead publishers that were turned into padding.
    pub abandoned: u64,
    /// Participants that came since the topic was made.
    pub came: u64,
    /// How many of them died, found or not yet found by those who clear up.
    pub died: u64,
    /// The living publishers.
    pub publishers: Vec<Participant>,
    /// The living subscribers with a slot.
    pub subscribers: Vec<Participant>,
    /// The living subscribers that hold nobody up, as far as they have a place to be seen: as many as there can be gated ones.
    pub observers: Vec<Participant>,
}

impl Snapshot {
    /// The subscriber that is furthest behind: whoever holds publishers up, if they are held up.
    #[must_use]
    pub fn slowest(&self) -> Option<&Participant> {
        self.subscribers.iter().filter(|one| one.position.is_some()).min_by_key(|one| one.position)
    }

    /// Everybody.
    pub fn participants(&self) -> impl Iterator<Item = &Participant> {
        self.publishers.iter().chain(&self.subscribers).chain(&self.observers)
    }

    /// Notes the slot's history, if it has any; whether somebody holds the slot.
    fn note(
        &mut self,
        history: &mut History,
        role: Role,
        index: u32,
        slot: Slot<'_>,
        is_held: impl FnOnce() -> bool,
    ) -> bool {
        if slot.get(slot::INCARNATION) == 0 {
            return false;
        }
        // In this order: who leaves says so before it lets go of the lock, so a slot that is still taken afterwards is a dead one's.
        let is_held = is_held();
        let comings = slot.comings();
        self.came = self.came.wrapping_add(comings.came);
        self.died = self.died.wrapping_add(comings.died).wrapping_add((comings.is_taken && !is_held).into());
        history.push((role, index, comings));
        is_held
    }
}

/// The slots of a topic that were ever taken.
pub type History = Vec<(Role, u32, Comings)>;

impl Topic {
    /// Who is there and how far, as far as this process may know.
    ///
    /// Cost: some system calls and one for each slot that was ever taken. Errors: [`TopicError`].
    pub fn snapshot(&self) -> Result<Snapshot, TopicError> {
        Ok(self.look_at_participants()?.0)
    }

    /// The same, and of each slot how often its holders came and ended: so that who looks now and then can tell what happened
    /// in between.
    ///
    /// Cost and errors: as for [`Topic::snapshot`].
    pub fn look_at_participants(&self) -> Result<(Snapshot, History), TopicError> {
        let log = self.map_log(Access::ReadOnly, &MapOptions::default())?;
        let geometry = &self.geometry;
        let head = log.head();
        let tail = log.newest(log.hint(head)).map_or(head, |(_, end)| end);
        let mut snapshot = Snapshot {
            head,
            tail,
            messages: 0,
            abandoned: log.control(status::ABANDONED).load(Ordering::Relaxed),
            came: 0,
            died: 0,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            observers: Vec::new(),
        };
        let mut history = History::new();
        let locks = self.locks(LOG_FILE, Access::ReadOnly)?;
        for publisher in 0..geometry.publishers_max {
            let (slot, messages) = (log.slot(publisher), log.messages(publisher).load(Ordering::Relaxed));
            snapshot.messages = snapshot.messages.wrapping_add(messages);
            if snapshot.note(&mut history, Role::Publisher, publisher, slot, || is_held(&locks, publisher)) {
                let label = Label::read(&log.region, geometry.publisher_label_at(publisher));
                let bytes = if geometry.many { slot.get(slot::BYTES) } else { tail };
                snapshot.publishers.push(slot.publisher(publisher, label, messages, bytes));
            }
        }
        let subs = match self.map_subs_for(Access::ReadOnly) {
            Ok(subs) => subs,
            Err(TopicError::Segment(SegmentError::NoPermission { .. })) => return Ok((snapshot, history)),
            Err(error) => return Err(error),
        };
        let locks = self.locks(SUBS_FILE, Access::ReadOnly)?;
        let gated = (0..subs.slots_used()).map(|index| (Role::Subscriber, index, index));
        let observers = (0..subs.observers_used()).map(|index| (Role::Observer, index, subs.slots_max() + index));
        for (role, index, at) in gated.chain(observers) {
            let slot = subs.slot(at);
            if snapshot.note(&mut history, role, index, slot, || is_held(&locks, at)) {
                let label = Label::read(&subs.region, geometry.subscriber_label_at(at));
                let all = if role == Role::Observer { &mut snapshot.observers } else { &mut snapshot.subscribers };
                all.push(slot.subscriber(role, index, label));
            }
        }
        Ok((snapshot, history))
    }
}

fn is_held(locks: &LockFile, slot: u32) -> bool {
    locks.is_held_by_another(slot).unwrap_or(false)
}

impl Slot<'_> {
    fn comings(self) -> Comings {
        let incarnations = self.word(slot::INCARNATION).load(Ordering::Acquire);
        Comings { came: incarnations.div_ceil(2), died: self.get(slot::DEATHS), is_taken: incarnations % 2 == 1 }
    }

    fn participant(self, role: Role, index: u32, label: Label) -> Participant {
        Participant {
            role,
            slot: index,
            pid: self.get(slot::PID),
            label,
            since_unix_ns: self.get(slot::SINCE),
            active_unix_ns: self.get(slot::ACTIVE),
            position: None,
            messages: self.get(slot::MESSAGES).wrapping_sub(self.get(slot::MESSAGES_BEFORE)),
            log_bytes: 0,
            full: 0,
            held_ns: 0,
            is_held: false,
            losses: 0,
            lost_bytes: 0,
            comings: self.comings(),
        }
    }

    fn publisher(self, index: u32, label: Label, messages: u64, bytes: u64) -> Participant {
        let held_since = self.get(slot::HELD_SINCE);
        let held_now = if held_since == 0 { 0 } else { memlane_shm::clock::unix_ns().saturating_sub(held_since) };
        Participant {
            messages: messages.wrapping_sub(self.get(slot::MESSAGES_BEFORE)),
            log_bytes: bytes.wrapping_sub(self.get(slot::BYTES_BEFORE)),
            full: self.get(slot::FULL),
            held_ns: self.get(slot::HELD_NS).wrapping_add(held_now),
            is_held: held_since != 0,
            ..self.participant(Role::Publisher, index, label)
        }
    }

    fn subscriber(self, role: Role, index: u32, label: Label) -> Participant {
        let is_observer = role == Role::Observer;
        let cursor = self.word(slot::CURSOR).load(Ordering::Acquire);
        Participant {
            position: (cursor != slot::JOINING).then(|| cursor.checked_sub(1)).flatten(),
            losses: if is_observer { self.get(slot::FULL) } else { 0 },
            lost_bytes: if is_observer { self.get(slot::BYTES) } else { 0 },
            ..self.participant(role, index, label)
        }
    }
}
