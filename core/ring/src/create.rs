//! Making a topic: its files are filled in a directory under another name, which is then given its own.

use crate::bell::BusBell;
use crate::error::TopicError;
use crate::header::{Header, NAME_BYTES_MAX, TopicOptions};
use crate::last_values::{LAST_FILE, Table};
use crate::memory::Log;
use crate::origin::Origin;
use crate::permissions::Permissions;
use crate::topic::{LOG_FILE, SUBS_FILE, TYPE_FILE, Topic, note_change};
use memlane_shm::clock::{self, Calibration};
use memlane_shm::directory::Staged;
use memlane_shm::{Backing, MapOptions, Segment, SegmentOptions, crash_point};
use std::path::Path;

impl Topic {
    /// Makes a topic in the directory `path`, which appears whole or not at all.
    ///
    /// Cost: about 25 system calls and the zeroing of the ring. Errors: [`TopicError`]; nothing is left behind.
    pub fn create(
        path: &Path,
        options: &TopicOptions,
        permissions: &Permissions,
        map: &MapOptions,
    ) -> Result<Self, TopicError> {
        Self::create_described(path, options, permissions, map, "")
    }

    /// The same, with a description of the message type beside the log, for who has no such type; none if it is empty. To the ring it is
    /// any text.
    ///
    /// Cost and errors: as for [`Topic::create`], and six system calls.
    pub fn create_described(
        path: &Path,
        options: &TopicOptions,
        permissions: &Permissions,
        map: &MapOptions,
        description: &str,
    ) -> Result<Self, TopicError> {
        Self::create_whole(path, options, permissions, map, description, None)
    }

    /// The same, of a topic that was there before, and goes on at `origin`.
    ///
    /// Cost and errors: as for [`Topic::create`], and for many publishers two stores for each cell; `BadOption` if a last message has no key, or no room in the table.
    pub fn create_at(
        path: &Path,
        options: &TopicOptions,
        permissions: &Permissions,
        map: &MapOptions,
        description: &str,
        origin: &Origin<'_>,
    ) -> Result<Self, TopicError> {
        Self::create_whole(path, options, permissions, map, description, Some(origin))
    }

    fn create_whole(
        path: &Path,
        options: &TopicOptions,
        permissions: &Permissions,
        map: &MapOptions,
        description: &str,
        origin: Option<&Origin<'_>>,
    ) -> Result<Self, TopicError> {
        let geometry = options.geometry()?;
        options.rate_limit.check()?;
        permissions.check()?;
        let name_bytes = options.message_type.name.len();
        if name_bytes > NAME_BYTES_MAX {
            let (option, reason) = ("the length of message_type's name", "a type's name has at most 128 bytes");
            return Err(TopicError::BadOption { option, value: name_bytes as u64, reason });
        }
        // Not `exists`: a link that leads nowhere takes the name too.
        if path.symlink_metadata().is_ok() {
            return Err(TopicError::Exists { path: path.to_path_buf() });
        }
        let header = Header {
            options: options.clone(),
            epoch: origin.map_or_else(random_number, |origin| origin.epoch),
            created_unix_ns: clock::unix_ns(),
            // Finding out the counter's rate takes 2 ms, once per process.
            calibration: if options.stamps { Calibration::measure() } else { Calibration::monotonic() },
        };
        let parent = path.parent().unwrap_or(Path::new("."));
        let backing = BusBell::backing(parent)?;
        let staged = Staged::new(parent)?;
        crash_point!("create.staged");
        let make = |name: &str, bytes: usize, mode, page: &[u8]| {
            // Not locked here: this mapping is gone in a moment.
            let map = MapOptions { lock_memory: false, ..*map };
            let options = SegmentOptions { mode, owner: permissions.owner, map, backing };
            let segment = Segment::create(&staged.path().join(name), bytes as u64, &options)?;
            segment.write_first_page(page).map(|()| segment)
        };
        let log = make(LOG_FILE, geometry.log_bytes(), permissions.log_mode, &header.to_page())?;
        if let Some(origin) = origin {
            origin.write(&Log::new(log.region().clone(), geometry))?;
        }
        crash_point!("create.sized");
        make(SUBS_FILE, geometry.subs_bytes(), permissions.subs_mode, &header.to_subs_page())?;
        if let Some(places) = options.last_places(&geometry)? {
            let last = make(LAST_FILE, places.file_bytes(), permissions.log_mode, &header.to_last_page())?;
            if let Some(origin) = origin {
                Table::restore(last.region(), places, &header, &geometry, origin)?;
            }
        }
        if !description.is_empty() {
            // Who may observe may know what. It is no memory that anybody shares, so it is a file on every bus.
            let (mode, owner) = (permissions.log_mode & 0o444, permissions.owner);
            let options = SegmentOptions { mode, owner, map: MapOptions::default(), backing: Backing::File };
            let segment = Segment::create(&staged.path().join(TYPE_FILE), description.len() as u64, &options)?;
            segment.region().copy_in(0, description.as_bytes());
        }
        // Whoever may read one of the files may look into the directory.
        let mode = 0o700 | (permissions.log_mode | permissions.subs_mode) >> 2 & 0o011 | list_bits(permissions);
        if !staged.place(path, mode, permissions.owner)? {
            return Err(TopicError::Exists { path: path.to_path_buf() });
        }
        note_change(parent);
        Ok(Self { path: path.to_path_buf(), header, geometry })
    }
}

/// Execute bits for whoever may read or write one of the files.
fn list_bits(permissions: &Permissions) -> u32 {
    let modes = permissions.log_mode | permissions.subs_mode;
    let bits = |shift: u32| if modes >> shift & 0o6 == 0 { 0 } else { 0o5 << shift };
    bits(3) | bits(0)
}

/// A number that no other topic has: from the hasher's random keys and the time.
fn random_number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one((clock::unix_ns(), std::process::id()))
}
