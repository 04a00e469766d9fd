//! The language between a test and its actors: roles, and what actors report.

pub use crate::plan::{Ask, Record, Serve, Waiting};

use crate::tally::{Strictness, Tally};
use memlane::{Bus, Kind, Start, Topic, Wait};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The name of every stage's bus.
pub const BUS: &str = "bus";

/// Where a topic is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The directory for buses.
    pub root: PathBuf,
    /// The topic's name.
    pub topic: String,
}

impl Place {
    /// Its bus.
    ///
    /// # Errors
    /// As for opening a bus.
    pub fn bus(&self) -> anyhow::Result<Bus> {
        Ok(Bus::builder(BUS).root(&self.root).open()?)
    }

    /// The topic, which exists.
    ///
    /// # Errors
    /// As for opening it.
    pub fn open(&self) -> anyhow::Result<Topic> {
        Ok(self.bus()?.topic(&self.topic)?.open()?)
    }

    /// The ledger beside its bus.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root.join(format!("{}.ledger", self.topic))
    }
}

/// How a publisher publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Each message by itself.
    #[default]
    Single,
    /// Eight at a time.
    Batch,
    /// In place.
    Loan,
    /// All of them by turns, and claims that are given up or used in part.
    Mixed,
}

/// A publisher of marked payloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Where.
    pub place: Place,
    /// As whom.
    pub sender: u32,
    /// How.
    pub way: Way,
    /// Longest payload, in bytes.
    pub bytes_max: usize,
    /// How many messages; without end if zero.
    pub messages: u64,
    /// Leaves the topic and comes back after so many messages; never if zero.
    pub reopen_every: u64,
    /// Pause after each call, in microseconds.
    pub pause_us: u64,
    /// Pauses at random up to so long, every 64th call or so, in microseconds.
    pub pause_at_random_us: u64,
    /// How long to stand by for another publisher, in milliseconds.
    pub stand_by_ms: u64,
    /// Goes on with the number after that of the newest message in the log.
    pub resume: bool,
    /// Opens its publisher, then waits for "go".
    pub wait_for_go: bool,
    /// Does not wait for room in the kernel.
    pub spin: bool,
    /// Goes on after errors.
    pub forgiving: bool,
}

impl Publish {
    /// Publishes each message by itself, without end.
    #[must_use]
    pub fn new(place: &Place, sender: u32) -> Self {
        Self {
            place: place.clone(),
            sender,
            way: Way::Single,
            bytes_max: 3000,
            messages: 0,
            reopen_every: 0,
            pause_us: 0,
            pause_at_random_us: 0,
            stand_by_ms: 0,
            resume: false,
            wait_for_go: false,
            spin: false,
            forgiving: false,
        }
    }
}

/// What a subscriber does when publishers are faster; mirrors [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// See [`Kind::Gated`].
    #[default]
    Gated,
    /// See [`Kind::Lossy`].
    Lossy,
    /// See [`Kind::Latest`].
    Latest,
}

impl Manner {
    /// The kind of subscriber.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Gated => Kind::Gated,
            Self::Lossy => Kind::Lossy,
            Self::Latest => Kind::Latest,
        }
    }
}

/// A subscriber that tallies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Where.
    pub place: Place,
    /// How.
    pub manner: Manner,
    /// From the oldest message on; else live.
    pub from_earliest: bool,
    /// What it may miss.
    pub strictness: Strictness,
    /// Receives in batches.
    pub batch: bool,
    /// Leaves the topic and comes back after so many messages; never if zero.
    pub rejoin_every: u64,
    /// Holds each message so long, in microseconds.
    pub hold_us: u64,
    /// Pauses at random up to so long, every 64th message or so, in microseconds.
    pub pause_at_random_us: u64,
    /// Waits without a deadline, so that a wake-up that is lost is a hang.
    pub patient: bool,
    /// Polls, and never sleeps.
    pub spin: bool,
    /// Goes on after a corrupt frame by skipping to live.
    pub forgiving: bool,
}

impl Subscribe {
    /// Gated, from the beginning, missing nothing.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        Self {
            place: place.clone(),
            manner: Manner::Gated,
            from_earliest: true,
            strictness: Strictness::Gapless,
            batch: false,
            rejoin_every: 0,
            hold_us: 0,
            pause_at_random_us: 0,
            patient: false,
            spin: false,
            forgiving: false,
        }
    }

    /// Another manner than gated, with what that may miss.
    #[must_use]
    pub fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self.strictness = match manner {
            Manner::Gated => Strictness::Gapless,
            Manner::Lossy => Strictness::Told,
            Manner::Latest => Strictness::Ordered,
        };
        self
    }

    pub(crate) fn start(&self) -> Start {
        if self.from_earliest { Start::Earliest } else { Start::Live }
    }

    pub(crate) fn wait(&self) -> Wait {
        if self.spin { Wait::SpinThenYield { spins: 100 } } else { Wait::default() }
    }
}

/// What an actor plays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Publishes.
    Publish(Publish),
    /// Subscribes.
    Subscribe(Subscribe),
    /// Answers each message that it hears on one topic with one on another, and sleeps between them without a deadline.
    Answer {
        /// Where it hears.
        hears: Place,
        /// Where it says something.
        says: Place,
        /// How many it says.
        messages: u64,
        /// Says something first.
        begins: bool,
    },
    /// Sleeps until something comes on any of several topics, without a deadline and without waking by itself: a wake-up that is lost is
    /// a hang.
    Await {
        /// The topics, all of one bus.
        places: Vec<Place>,
        /// By what it waits.
        waiting: Waiting,
        /// How many messages it awaits.
        messages: u64,
    },
    /// Publishes messages with random keys until told to stop.
    PublishKeyed {
        /// Where.
        place: Place,
        /// For its random numbers.
        seed: u64,
        /// How many keys there are.
        keys: u64,
        /// How long to stand by for another publisher, in milliseconds.
        stand_by_ms: u64,
    },
    /// Joins with the last values until told to stop; reports [`Report::Joined`] each time.
    JoinKeyed {
        /// Where.
        place: Place,
        /// Holds nobody up.
        lossy: bool,
    },
    /// Serves.
    Serve(Serve),
    /// Calls.
    Ask(Ask),
    /// Makes a topic of so many bytes, if it comes so far.
    Create {
        /// Where.
        place: Place,
        /// Size of the ring.
        capacity_bytes: u64,
    },
    /// Does what the test says, one command a line; see [`Command`].
    Obey,
    /// Writes random bits and words into the files of a topic, until told to stop.
    Damage {
        /// The topic's directory.
        directory: PathBuf,
        /// For its random numbers.
        seed: u64,
    },
    /// Opens and leaves publishers and subscribers, looks and sweeps, whatever it meets, until told to stop.
    Churn {
        /// Where.
        place: Place,
    },
    /// Plays another role as the first process of a PID namespace of its own.
    InPidNamespace(Box<Role>),
    /// Plays another role where the only part of this host's shared memory is one bus, with PID, IPC and mount namespaces of its
    /// own, as in a container that has the bus's directory as a volume.
    InNamespaces {
        /// The bus's directory.
        bus: PathBuf,
        /// An empty directory outside of shared memory; in there the role sees the bus.
        at: PathBuf,
        /// The other role.
        role: Box<Role>,
    },
    /// Plays another role in a child: the first process of a PID namespace can't be killed or stopped from within.
    InChild(Box<Role>),
    /// Tries to enter namespaces as [`Role::InNamespaces`] does; answers with the number of the error, zero for none.
    TryNamespaces {
        /// The bus's directory.
        bus: PathBuf,
        /// An empty directory.
        at: PathBuf,
    },
    /// Plays another role as another user, whose group has the same number.
    AsUser {
        /// The user's number.
        user: u32,
        /// Further groups that the user is a member of.
        groups: Vec<u32>,
        /// The other role.
        role: Box<Role>,
    },
    /// Plays another role where it alone sees a directory mounted read-only.
    OnReadOnlyMount {
        /// The directory.
        directory: PathBuf,
        /// The other role.
        role: Box<Role>,
    },
    /// Plays another role where it alone sees a small tmpfs in place of a directory, with a file `filler` that takes half of it.
    OnSmallDisk {
        /// The directory.
        directory: PathBuf,
        /// Bytes of the tmpfs.
        bytes: u64,
        /// The other role.
        role: Box<Role>,
    },
    /// Plays another role where the kernel refuses `membarrier`.
    WithoutMembarrier(Box<Role>),
    /// Opens a publisher and a subscriber with their memory locked, as far as a limit allows; reports how many bytes are.
    LockMemory {
        /// Where.
        place: Place,
        /// What `ulimit -l` is, in bytes.
        limit_bytes: u64,
    },
    /// Plays another role, which is to be refused, and reports its error.
    Refused(Box<Role>),
    /// Mounts a tmpfs of so many bytes where only it sees it, makes topics until it is full, and reports the error.
    FillFileSystem {
        /// Where to mount it.
        directory: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Makes messages of one topic out of those of another, as `roles::transform` says, until told to stop; answers with the position in the input.
    Transform {
        /// The input.
        input: Place,
        /// The output.
        output: Place,
        /// The input's journal, if it has one.
        directory: Option<PathBuf>,
    },
    /// Goes on from a journal's offset of this name: commits the positions of the messages behind it, one by one, and says each.
    Commit {
        /// The journal.
        directory: PathBuf,
        /// The offset.
        name: String,
    },
    /// Goes on from a journal's newest snapshot of this name: counts messages, saves the count every so often, and says each position that it has saved.
    Save {
        /// The journal.
        directory: PathBuf,
        /// The snapshots.
        name: String,
    },
    /// Records a topic until told to stop; answers with the position where its journal ends.
    Record(Record),
    /// Opens and drops participants of all kinds, and fails to, so many times; reports what is left open.
    Leak {
        /// Where.
        place: Place,
        /// How often.
        rounds: u32,
    },
    /// Publishes under a name, with numbers that go on where the name's last publisher stopped, until told to stop; reports the last one.
    Source {
        /// Where.
        place: Place,
        /// As which source.
        name: String,
    },
    /// Makes so many topics and subscribes to all of them; reports the bytes that each takes.
    ManyTopics {
        /// The directory for buses.
        root: PathBuf,
        /// How many.
        count: usize,
    },
    /// Subscribes so many times to one topic; when told to go, each reads so many messages.
    ManySubscribers {
        /// Where.
        place: Place,
        /// How many.
        count: usize,
        /// How many messages.
        messages: usize,
    },
    /// Subscribes to every topic with too few descriptors for it; reports the error.
    RunOutOfFiles {
        /// The directory for buses.
        root: PathBuf,
        /// How many descriptors it may have.
        limit: u64,
    },
    /// Opens so many publishers, then one more; reports the last one's error.
    TakeAllSlots {
        /// Where.
        place: Place,
        /// How many there are.
        slots: u32,
    },
}

/// What an obedient actor is told to do, at a moment by [`crate::clock::since_boot`] that several have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// What; the answer is [`Report::Answer`].
    pub command: Command,
}

/// What an obedient actor can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes the topic.
    Create(Place),
    /// Opens it, or makes it.
    OpenOrCreate(Place),
    /// Opens it and becomes its publisher for a moment.
    PublishOne(Place),
    /// The same, and does not stand by.
    PublishOneAtOnce(Place),
    /// Joins it for a moment.
    JoinOnce(Place),
    /// Removes it.
    Remove(Place),
    /// Clears away what dead processes left; answers with the number of directories.
    CollectGarbage(Place),
    /// The same; answers with the number of slots of the dead that it freed.
    FreeSlots(Place),
    /// The same; answers with the number of topics that it could not look at.
    CountSkipped(Place),
    /// Lists the topics; answers with their number.
    List(Place),
    /// Looks a topic up by its name.
    LookUp(Place),
    /// Looks at who takes part in it; answers with the number of subscribers that it sees.
    Snapshot(Place),
    /// Joins it for a moment and receives its oldest message; answers with 1 if it can be woken, with 0 if it naps.
    ReceiveOne(Place, Manner),
    /// Makes it for a user and a group, by number.
    CreateFor(Place, Option<u32>, Option<u32>),
    /// Makes a bus for a user and a group, by number, in a directory for buses.
    MakeBusFor(PathBuf, Option<u32>, Option<u32>),
}

/// A message with a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LastValue {
    /// Its key.
    pub key: Vec<u8>,
    /// Its position.
    pub position: u64,
    /// A sum of its payload.
    pub sum: u64,
}

/// What an actor says, a line of JSON each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It stands by for another publisher to go.
    StandsBy,
    /// It has opened what it needs.
    Ready {
        /// When, by [`crate::clock::since_boot`], in nanoseconds.
        at_ns: u64,
    },
    /// It has ended, as a publisher.
    Published {
        /// How many messages.
        messages: u64,
        /// Longest time that a message took to be published, in microseconds.
        longest_wait_us: u64,
        /// Errors other than for want of room. The first few.
        errors: Vec<String>,
    },
    /// It has ended, as a subscriber.
    Received(Tally),
    /// It has joined with the last values.
    Joined {
        /// The position that they are the state at.
        position: u64,
        /// The last message of each key.
        values: Vec<LastValue>,
        /// The positions of what it received then.
        next: Vec<u64>,
    },
    /// What came of a command, or of a role that is over at once: the error, if there was one.
    Answer(Result<u64, String>),
}
