//! A topic: its options, and the way to its publishers and subscribers.

use crate::description::{self, DESCRIPTION_BYTES_MAX, DescriptionError};
use crate::error::{OpenError, TypeName};
use crate::message::{Message, TypeInfo};
use crate::payload::Payload;
use crate::permission::{self, UserClass};
use crate::publisher::PublisherBuilder;
use crate::raw::Trusted;
use crate::subscriber::SubscriberBuilder;
use memlane_ring::snapshot::Snapshot;
use memlane_ring::{
    FrameShape, Label, LastValuesOptions, Origin, Permissions, Publishers, RateLimit, Topic as Log, TopicError,
    TopicOptions, TypeTag,
};
use memlane_shm::{MapOptions, SegmentError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to make a topic, or to open it.
///
/// What describes the topic itself counts only for whoever makes it; [`TopicBuilder::open_or_create`] takes a topic that is
/// there as it is. `prefault`, `huge_pages` and `lock_memory` count for this process's own mappings too.
#[derive(Clone, Debug)]
pub struct TopicBuilder {
    name: String,
    path: PathBuf,
    pub(crate) options: TopicOptions,
    /// Of the message type; empty if it isn't known.
    pub(crate) description: String,
    permissions: Permissions,
    map: MapOptions,
    label: Arc<Label>,
}

impl TopicBuilder {
    pub(crate) fn new(name: &str, path: PathBuf, label: Arc<Label>) -> Self {
        Self {
            name: name.to_owned(),
            path,
            options: TopicOptions::default(),
            description: String::new(),
            permissions: Permissions::default(),
            map: MapOptions { prefault: true, ..MapOptions::default() },
            label,
        }
    }

    /// Size of the ring in bytes: a power of two, 4 KiB to 64 GiB. Default 4 MiB. A larger one gives slow subscribers more time and
    /// late ones more history; one that outgrows the second-level cache carries streams fastest (`docs/decisions/0003-default-sizes.md`).
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.options.capacity = bytes;
        self
    }

    /// What frames are padded to, in bytes: a power of two, 32 to 4,096. Default 64, so that no two messages share a cache
    /// line. 32 packs messages of up to 24 bytes twice as densely.
    #[must_use]
    pub fn cell_bytes(mut self, bytes: u64) -> Self {
        self.options.cell = bytes;
        self
    }

    /// Longest payload in bytes, with its headers. Default: what a quarter of the ring holds, which is also the most.
    #[must_use]
    pub fn payload_bytes_max(mut self, bytes: u64) -> Self {
        self.options.payload_max = Some(bytes);
        self
    }

    /// Alignment of payloads in bytes: a power of two, 8 to 64, at most the cell. Default 8, or what the message type needs.
    #[must_use]
    pub fn payload_align(mut self, bytes: u64) -> Self {
        self.options.payload_align = bytes;
        self
    }

    /// How many publishers there can be at a time. Default [`Publishers::One`], whose publishing takes plain stores only.
    #[must_use]
    pub fn publishers(mut self, publishers: Publishers) -> Self {
        self.options.publishers = publishers;
        self
    }

    /// How many gated subscribers there can be at a time: 1 to 65,536. Default 256; each takes 512 bytes.
    #[must_use]
    pub fn subscribers_max(mut self, count: u32) -> Self {
        self.options.subscribers_max = count;
        self
    }

    /// Whether each message carries the time of its publishing. Default no. Costs 8 bytes and some 10 ns a message.
    #[must_use]
    pub fn stamps(mut self, stamps: bool) -> Self {
        self.options.stamps = stamps;
        self
    }

    /// Keeps the last message of each key, for late joiners: see
    /// [`SubscriberBuilder::open_with_last_values`](crate::SubscriberBuilder::open_with_last_values). Default no.
    ///
    /// There can be `keys_max` keys (1 to 1,048,576), for as long as the topic exists: a message whose key would be one more is
    /// [`ClaimError::KeysFull`](memlane_ring::ClaimError::KeysFull). A message with a key has at most `message_bytes_max` bytes with its
    /// key and headers (8 more than they have, and 4 for each), else it is `KeyedTooLong`; a key has at most 255 bytes. Messages without a key are not kept, and as
    /// long as ever. A message with a key and an empty payload takes the key out; its place stays taken.
    ///
    /// Cost: a file with room for the longest message and key for each key. A message with a key takes a look at an index more. Making room in the
    /// ring, every 64th of a lap or so, takes a copy of each message with a key besides.
    #[must_use]
    pub fn last_values(mut self, keys_max: u32, message_bytes_max: u64) -> Self {
        self.options.last_values = Some(LastValuesOptions { keys_max, message_bytes_max });
        self
    }

    /// How much all its publishers together may publish. Default no limit. A limit costs each publish a read of the clock and a locked
    /// instruction for each of its two parts.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.options.rate_limit = limit;
        self
    }

    /// Refuses gated subscribers, so that no subscriber can ever hold a publisher up. Default no.
    #[must_use]
    pub fn lossy_only(mut self, lossy_only: bool) -> Self {
        self.options.lossy_only = lossy_only;
        self
    }

    /// Marks the topic as one that is to be kept: who records the whole bus ([`BusRecorder`](crate::journal::BusRecorder), `memlane record --marked`) picks it up. Its
    /// messages get stamps. Default no.
    #[must_use]
    pub fn journaled(mut self, journaled: bool) -> Self {
        self.options.journaled = journaled;
        self.options.stamps |= journaled;
        self
    }

    /// Gives the topic a message type: publishers and subscribers of another one are refused, with both shown. The topic keeps the type's
    /// description, for [`Topic::description`].
    #[must_use]
    pub fn message<T: Message>(self) -> Self {
        let info = TypeInfo::of::<T>();
        let payload_align = self.options.payload_align.max(<T as Payload>::ALIGN as u64);
        self.message_type(TypeName::from(&info).0).payload_align(payload_align).describe(info.description)
    }

    /// As [`TopicBuilder::message`], for programs that know the type only by its description. A name has at most 128 bytes.
    #[must_use]
    pub fn message_type(mut self, message_type: TypeTag) -> Self {
        self.options.message_type = message_type;
        self.description.clear();
        self
    }

    /// Gives the topic the description of its message type, after [`TopicBuilder::message_type`]. One of more than 64 KiB is not kept.
    #[must_use]
    pub fn describe(mut self, description: String) -> Self {
        self.description = if description.len() > DESCRIPTION_BYTES_MAX { String::new() } else { description };
        self
    }

    /// Ask for huge pages, which save address-cache misses on rings of many MiB. Default no.
    #[must_use]
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.map.huge_pages = huge_pages;
        self
    }

    /// Touch all memory when it is mapped, so that no message takes a page fault. Default yes; costs some 0.05 ms per MiB.
    #[must_use]
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.map.prefault = prefault;
        self
    }

    /// Lock the memory (`mlock`), so that it is never swapped out. Default no; needs `ulimit -l`.
    #[must_use]
    pub fn lock_memory(mut self, lock_memory: bool) -> Self {
        self.map.lock_memory = lock_memory;
        self
    }

    /// Who may observe, beside those who may already: subscribe lossily or to the latest only, without ever being waited for. An
    /// observer that is no more than that can't say that it sleeps, so it looks again every so often. Default: the owner.
    #[must_use]
    pub fn may_observe(mut self, class: UserClass) -> Self {
        permission::let_observe(&mut self.permissions, class);
        self
    }

    /// Who may subscribe in every way, beside those who may already: also gated, which lets them hold publishers back. Default: the owner.
    #[must_use]
    pub fn may_subscribe(mut self, class: UserClass) -> Self {
        permission::let_subscribe(&mut self.permissions, class);
        self
    }

    /// Who may publish, beside those who may already; they may subscribe too. Default: the owner.
    #[must_use]
    pub fn may_publish(mut self, class: UserClass) -> Self {
        permission::let_publish(&mut self.permissions, class);
        self
    }

    /// Permission bits of the log, in place of those so far: who may observe (read) and publish (write). At most 0o777; default 0o600.
    #[must_use]
    pub fn log_mode(mut self, mode: u32) -> Self {
        self.permissions.log_mode = mode;
        self
    }

    /// Permission bits of the subscriber table, in place of those so far: who may subscribe gated, and block (read and write).
    /// Publishers need it too. At most 0o777; default 0o600.
    #[must_use]
    pub fn subscribers_mode(mut self, mode: u32) -> Self {
        self.permissions.subs_mode = mode;
        self
    }

    /// User whom the topic belongs to, by number: who can remove it and change its permissions. Default: the process's own; only
    /// root can name another, else making the topic is an error.
    #[must_use]
    pub fn owner(mut self, user: u32) -> Self {
        self.permissions.owner.user = Some(user);
        self
    }

    /// Group of the topic's files, by number. Default: the process's own; another must be one of the process's groups, unless it is
    /// root, else making the topic is an error.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.permissions.owner.group = Some(group);
        self
    }

    /// Makes the topic; an error if there is one of that name.
    ///
    /// Cost: the zeroing of its ring. Errors: [`OpenError`]; nothing is left behind.
    pub fn create(&self) -> Result<Topic, OpenError> {
        let Self { path, options, permissions, map, description, .. } = self;
        Ok(self.topic(Log::create_described(path, options, permissions, map, description)?))
    }

    /// Opens the topic; an error if there is none of that name.
    ///
    /// Cost: three system calls. Errors: [`OpenError`].
    pub fn open(&self) -> Result<Topic, OpenError> {
        Ok(self.topic(Log::open(&self.path)?))
    }

    /// Opens the topic, if it is there.
    pub(crate) fn find(&self) -> Result<Option<Topic>, OpenError> {
        match self.open() {
            Err(OpenError::Topic(TopicError::NotFound { .. })) => Ok(None),
            // What was in it is gone: it is as if there were none.
            Err(OpenError::Topic(TopicError::Segment(SegmentError::Lost { .. }))) => {
                Log::remove_lost(&self.path)?;
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Makes the topic, with these options, to go on at `origin`.
    pub(crate) fn create_at(
        &self,
        options: &TopicOptions,
        description: &str,
        origin: &Origin<'_>,
    ) -> Result<Topic, OpenError> {
        let Self { path, permissions, map, .. } = self;
        Ok(self.topic(Log::create_at(path, options, permissions, map, description, origin)?))
    }

    fn topic(&self, log: Log) -> Topic {
        Topic { name: self.name.clone(), log, map: self.map, label: Arc::clone(&self.label) }
    }

    /// Opens the topic, or makes it, also in place of one whose named segments went with a restart of the host. Of several processes that do so at
    /// once, one makes it and all get the same.
    ///
    /// Errors: [`OpenError`]; `Exists` if the name is taken by what is no topic, or a topic comes and goes all the time.
    pub fn open_or_create(&self) -> Result<Topic, OpenError> {
        /// A round is in vain only if another process makes the topic in one half of it and removes it in the other.
        const ROUNDS_MAX: u32 = 100;
        let mut round = 1;
        loop {
            if let Some(topic) = self.find()? {
                return Ok(topic);
            }
            match self.create() {
                Err(OpenError::Topic(TopicError::Exists { .. })) if round < ROUNDS_MAX => round += 1,
                other => return other,
            }
        }
    }
}

/// A topic that exists. Holds no memory and no lock: its publishers and subscribers do.
#[derive(Clone, Debug)]
pub struct Topic {
    name: String,
    log: Log,
    map: MapOptions,
    label: Arc<Label>,
}

/// What a topic is; it never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its options.
    pub options: TopicOptions,
    /// A random number that tells it from another topic of the same name.
    pub epoch: u64,
    /// When it was made, in nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Longest payload, in bytes.
    pub payload_bytes_max: u64,
    /// Bytes of shared memory that it takes.
    pub memory_bytes: u64,
}

impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.log.path()
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> TopicInfo {
        let (header, geometry) = (self.log.header(), self.log.geometry());
        // The options were checked when the topic was opened.
        let places = header.options.last_places(geometry).ok().flatten();
        let last_bytes = places.map_or(0, |places| places.file_bytes());
        TopicInfo {
            options: header.options.clone(),
            epoch: header.epoch,
            created_unix_ns: header.created_unix_ns,
            payload_bytes_max: geometry.payload_bytes_max(),
            memory_bytes: (geometry.log_bytes() + geometry.subs_bytes() + last_bytes) as u64,
        }
    }

    /// Who is there, and how far.
    ///
    /// Cost: a few system calls and one for each slot. Errors: [`TopicError`].
    pub fn snapshot(&self) -> Result<Snapshot, TopicError> {
        self.log.snapshot()
    }

    /// The description of its message type, which [`Shape::parse`](crate::Shape::parse) reads; `None` if it keeps none.
    ///
    /// Cost: four system calls. Errors: [`DescriptionError`].
    pub fn description(&self) -> Result<Option<String>, DescriptionError> {
        description::read(self.log.path(), self.log.header().options.message_type.fingerprint)
    }

    /// What its frames look like, for whoever walks over its bytes.
    #[must_use]
    pub fn frame_shape(&self) -> FrameShape {
        FrameShape::of_geometry(self.log.geometry())
    }

    /// The names of the sources that it has had.
    ///
    /// Cost: some system calls. Errors: [`TopicError`].
    pub fn source_names(&self) -> Result<Vec<String>, TopicError> {
        self.log.source_names()
    }

    /// A stamp of this topic's messages in nanoseconds since 1970.
    #[must_use]
    pub fn stamp_unix_ns(&self, ticks: u64) -> u64 {
        self.log.header().calibration.unix_ns(ticks)
    }

    /// A publisher of `P`: a type that derives [`Message`], or `[u8]`.
    #[must_use]
    pub fn publisher<P: ?Sized + Payload>(&self) -> PublisherBuilder<'_, P> {
        PublisherBuilder::new(self)
    }

    /// A subscriber to `P`: a type that derives [`Message`], or `[u8]`.
    #[must_use]
    pub fn subscriber<P: ?Sized + Trusted>(&self) -> SubscriberBuilder<'_, P> {
        SubscriberBuilder::new(self)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn map(&self) -> &MapOptions {
        &self.map
    }

    /// Who opens publishers and subscribers of it, unless they say otherwise.
    pub(crate) fn label(&self) -> &Arc<Label> {
        &self.label
    }

    /// Whether `P` is what the topic carries.
    pub(crate) fn check_type<P: ?Sized + Payload>(&self) -> Result<(), OpenError> {
        let Some(info) = P::type_info() else { return Ok(()) };
        let options = &self.log.header().options;
        let expected = TypeName::from(&info);
        if options.message_type != expected.0 {
            let found = TypeName(options.message_type.clone());
            return Err(OpenError::TypeMismatch { topic: self.name.clone(), found, expected });
        }
        if options.payload_align < P::ALIGN as u64 {
            let (needed, found) = (P::ALIGN, options.payload_align);
            return Err(OpenError::Align { topic: self.name.clone(), expected, needed, found });
        }
        Ok(())
    }
}
