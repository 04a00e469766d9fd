//! A bus: a directory with topics.

use crate::error::BusError;
use crate::name::{self, NameError};
use crate::pattern::Pattern;
use crate::pattern_subscriber::PatternSubscriberBuilder;
use crate::payload::Payload;
use crate::permission::{self, UserClass};
use crate::raw::Trusted;
use crate::request::{self, ClientBuilder, ServerBuilder};
use crate::topic::TopicBuilder;
use memlane_ring::{BusBell, Label, Topic as Log, TopicError};
use memlane_shm::{Backing, Owner, SegmentError, directory};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The variable that names the directory in which buses live, if it isn't the usual one.
const ROOT_VARIABLE: &str = "MEMLANE_ROOT";

/// A bus: topics that belong together, in one directory of shared memory. Cheap to open and to clone; holds no memory.
#[derive(Clone, Debug)]
pub struct Bus {
    name: String,
    directory: PathBuf,
    label: Arc<Label>,
}

/// How to open a bus.
#[derive(Clone, Debug)]
pub struct BusBuilder {
    name: String,
    root: Option<PathBuf>,
    mode: u32,
    owner: Owner,
    backing: Option<Backing>,
    create: bool,
    label: Label,
}

impl BusBuilder {
    /// The directory in which buses live, on a tmpfs. Default: `$MEMLANE_ROOT`, else `/dev/shm/memlane-<uid>`, which is made if it
    /// isn't there, and refused if it isn't this user's alone. A directory given here or by the variable must exist, and is
    /// taken as it is.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Who may look up topics and list them, beside those who may already, if the bus is made now. Default: the owner.
    #[must_use]
    pub fn may_look_up(mut self, class: UserClass) -> Self {
        permission::let_look_up(&mut self.mode, class);
        self
    }

    /// Who may make topics, beside those who may already, if the bus is made now. Each can remove its own only, as in `/tmp`. Default: the
    /// owner.
    #[must_use]
    pub fn may_create(mut self, class: UserClass) -> Self {
        permission::let_create(&mut self.mode, class);
        self
    }

    /// Permission bits of the bus's directory if it is made now, in place of those so far: who may look up topics (`x`), list (`r`)
    /// and make them (`w` and `x`). Default 0o700.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// User whom the bus's directory belongs to, by number, if it is made now. Default: the process's own; only root can name
    /// another, else making the bus is an error.
    #[must_use]
    pub fn owner(mut self, user: u32) -> Self {
        self.owner.user = Some(user);
        self
    }

    /// Group of the bus's directory, by number, if it is made now. Default: the process's own; another must be one of the process's
    /// groups, unless it is root, else making the bus is an error.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.owner.group = Some(group);
        self
    }

    /// What the memory of its topics lies in, if the bus is made now; whoever opens it later uses the same. Default: `$MEMLANE_BACKING`
    /// (`file` or `named`), else files.
    ///
    /// [`Backing::File`] wants the bus's directory on a tmpfs. With [`Backing::Named`] it may lie on any local file system: it then holds small links
    /// to named segments of the kernel's (`shm_open`). They go with a restart of the host, and the links are of no use then:
    /// [`TopicBuilder::open_or_create`] makes such a topic anew. Who removes the directory by other means than memlane's leaves
    /// the segments behind.
    #[must_use]
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = Some(backing);
        self
    }

    /// Whether to make the bus if it isn't there. Default yes; with no, that is [`BusError::NotFound`].
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Who this is, for people who look at the bus: the name and tags of every publisher and subscriber that is opened through it, unless
    /// they get others. Default: the name of the program, and no tags.
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.label = label;
        self
    }

    /// Opens the bus; makes its directory if it isn't there.
    ///
    /// Cost: three system calls, a few more if it is made. Errors: [`BusError`]; nothing is left behind.
    pub fn open(self) -> Result<Bus, BusError> {
        name::check(&self.name)?;
        let root = match self.root.or_else(|| std::env::var_os(ROOT_VARIABLE).map(PathBuf::from)) {
            Some(root) => root,
            None => default_root()?,
        };
        if !is_directory(&root)? {
            return Err(BusError::NoRoot { path: root });
        }
        let directory = root.join(&self.name);
        let label = Arc::new(self.label);
        if !self.create {
            return if is_directory(&directory)? {
                Ok(Bus { name: self.name, directory, label })
            } else {
                Err(BusError::NotFound { path: directory })
            };
        }
        let backing = match self.backing {
            Some(backing) => backing,
            None => Backing::of_environment().map_err(BusError::of_directory)?,
        };
        let is_new = directory::make(&directory, self.mode, self.owner).map_err(BusError::of_directory)?;
        match BusBell::make(&directory, bell_mode(self.mode), self.owner, backing) {
            // Without its bell nobody would know that its topics are to be named segments.
            Err(error) if is_new && backing == Backing::Named => {
                let _ = std::fs::remove_dir(&directory);
                return Err(error.into());
            }
            // Where it can't be made, sleepers on many topics nap.
            _ => {}
        }
        Ok(Bus { name: self.name, directory, label })
    }
}

/// Whether `path` is a directory. Errors: [`BusError::NoPermission`], if the way there is barred.
fn is_directory(path: &Path) -> Result<bool, BusError> {
    match path.metadata() {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(BusError::of_directory(SegmentError::of(path, "look it up", error)))
        }
        Err(_) => Ok(false),
    }
}

/// The mode of the bell of a bus whose directory has `mode`: who may make topics there may read and write it. Not whoever may look them
/// up: a file that somebody may write, he can cut, which ends those who have it mapped.
fn bell_mode(mode: u32) -> u32 {
    (mode & mode >> 1 & 0o111) * 0o6
}

/// The name of this program, if it can be one.
fn program_label() -> Label {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| Label::new(name).ok()).unwrap_or_default()
}

/// `/dev/shm/memlane-<uid>`: private to its user.
fn default_root() -> Result<PathBuf, BusError> {
    private_root(Path::new("/dev/shm"), nix::unistd::geteuid().as_raw())
}

/// The directory of `user` in `shared_memory`, where anybody may make directories: whoever made it, it is used only if it is
/// the user's own and nobody else can write to it.
fn private_root(shared_memory: &Path, user: u32) -> Result<PathBuf, BusError> {
    if !shared_memory.is_dir() {
        return Err(BusError::NoRoot { path: shared_memory.to_path_buf() });
    }
    let path = shared_memory.join(format!("memlane-{user}"));
    let failed = |action| {
        let path = path.clone();
        move |source| BusError::Directory { path, action, source }
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make it")(error)),
        _ => {}
    }
    // Not what a link leads to: whoever made the link can turn it.
    let found = path.symlink_metadata().map_err(failed("look at it"))?;
    let wrong = if !found.is_dir() {
        "it is no directory"
    } else if found.uid() != user {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others may write to it"
    } else {
        return Ok(path);
    };
    Err(BusError::NotPrivate { path, wrong })
}

/// What [`Bus::collect_garbage`] cleared away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Directories that dead makers or removers left half-done, and topics whose memory is gone.
    pub directories: usize,
    /// Slots of dead publishers.
    pub publishers: usize,
    /// Slots of dead subscribers.
    pub subscribers: usize,
    /// Servers' presences and clients' connections whose owners are dead: see [`Bus::server`].
    pub connections: usize,
    /// Topics that could not be looked at, for want of permission or of a free slot.
    pub skipped: usize,
}

impl Bus {
    /// Opens the bus `name` in the usual place; makes it if it isn't there. See [`BusBuilder::root`].
    ///
    /// Cost: a few system calls. Errors: [`BusError`].
    pub fn open(name: &str) -> Result<Self, BusError> {
        Self::builder(name).open()
    }

    /// Options for opening the bus `name`.
    #[must_use]
    pub fn builder(name: &str) -> BusBuilder {
        BusBuilder {
            name: name.to_owned(),
            root: None,
            mode: 0o700,
            owner: Owner::default(),
            backing: None,
            create: true,
            label: program_label(),
        }
    }

    /// Whether `name` can be the name of a bus, or of a topic.
    ///
    /// Cost: none but the look. Errors: [`NameError`], which says what is wrong with it.
    pub fn check_name(name: &str) -> Result<(), NameError> {
        name::check(name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The topic `name`, to be opened or created.
    ///
    /// Errors: [`BusError::Name`].
    pub fn topic(&self, name: &str) -> Result<TopicBuilder, BusError> {
        name::check(name)?;
        Ok(TopicBuilder::new(name, self.directory.join(name), Arc::clone(&self.label)))
    }

    /// The names of its topics, sorted.
    ///
    /// Cost: a walk over the directory. Errors: [`BusError::NoPermission`], [`BusError::Directory`].
    pub fn topics(&self) -> Result<Vec<String>, BusError> {
        let failed = |source| BusError::of_directory(SegmentError::of(&self.directory, "list it", source));
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // What isn't a name is half-made, or not ours.
            if let Ok(name) = entry.file_name().into_string()
                && name::check(&name).is_ok()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The names of its topics that match `pattern`, sorted.
    ///
    /// Cost: a walk over the directory. Errors: [`BusError::Directory`].
    pub fn topics_matching(&self, pattern: &Pattern) -> Result<Vec<String>, BusError> {
        let mut names = self.topics()?;
        names.retain(|name| pattern.matches(name));
        Ok(names)
    }

    /// A subscriber to every topic that matches `pattern`, also to those made later.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// let bus = memlane::Bus::builder("pattern").root(&root).open()?;
    /// let mut trades = bus.subscribe::<[u8]>("md.*.trades".parse()?).open()?;
    /// bus.topic("md.xnas.trades")?.open_or_create()?.publisher::<[u8]>().open()?.publish(b"100 @ 99.5")?;
    /// let (topic, trade) = trades.receive()?;
    /// assert_eq!((topic, &*trade), ("md.xnas.trades", &b"100 @ 99.5"[..]));
    /// # drop(trade);
    /// # bus.remove("md.xnas.trades")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe<P: ?Sized + Trusted>(&self, pattern: Pattern) -> PatternSubscriberBuilder<P> {
        PatternSubscriberBuilder::new(self.clone(), pattern)
    }

    /// A server of the service `service`, which takes requests of type `Q` and gives replies of type `R`. Any number may serve together.
    #[must_use]
    pub fn server<Q: ?Sized + Trusted, R: ?Sized + Payload>(&self, service: &str) -> ServerBuilder<Q, R> {
        ServerBuilder::new(self.clone(), service)
    }

    /// A client of the service `service`. There need not be a server yet.
    #[must_use]
    pub fn client<Q: ?Sized + Trusted, R: ?Sized + Trusted>(&self, service: &str) -> ClientBuilder<Q, R> {
        ClientBuilder::new(self.clone(), service)
    }

    /// Removes the topic `name`. Participants that have it open are told, and keep its memory until they leave.
    ///
    /// Who may write to the bus's directory and owns the topic can. Errors: [`BusError`]; then the topic goes on as if nothing had been.
    pub fn remove(&self, name: &str) -> Result<(), BusError> {
        name::check(name)?;
        let path = self.directory.join(name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TopicError::NotFound { path }.into()),
            _ => Ok(Log::remove(&path)?),
        }
    }

    /// Removes the bus itself, if it has no topic; whether it did. A topic that is made meanwhile stays, and so does the bus.
    ///
    /// Errors: [`BusError`].
    pub fn remove_if_empty(&self) -> Result<bool, BusError> {
        if !self.topics()?.is_empty() {
            return Ok(false);
        }
        let failed = |source| BusError::Directory { path: self.directory.clone(), action: "remove it", source };
        let mode = self.directory.metadata().map_err(failed)?.mode();
        let backing = BusBell::backing(&self.directory)?;
        BusBell::remove(&self.directory).map_err(failed)?;
        match std::fs::remove_dir(&self.directory) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let _ = BusBell::make(&self.directory, bell_mode(mode), Owner::default(), backing);
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Clears away what dead processes left: half-made topics, slots, unfinished claims; and topics whose named segments went with a restart of the
    /// host.
    ///
    /// Nothing needs it, since whoever is held up does the same; it only makes room earlier. Errors: [`BusError`].
    pub fn collect_garbage(&self) -> Result<Garbage, BusError> {
        let directories = Log::remove_abandoned(&self.directory)?;
        let mut garbage = Garbage { directories, ..Garbage::default() };
        let topics = self.topics()?;
        garbage.connections = request::sweep_all(self, &topics);
        for name in topics {
            let path = self.directory.join(name);
            match Log::open(&path).and_then(|log| log.sweep()) {
                Err(TopicError::Segment(SegmentError::Lost { .. })) => match Log::remove_lost(&path) {
                    Ok(removed) => garbage.directories += usize::from(removed),
                    Err(_) => garbage.skipped += 1,
                },
                Ok((publishers, subscribers)) => {
                    garbage.publishers += publishers;
                    garbage.subscribers += subscribers;
                }
                // It went with its connection, or by its owner's hand.
                Err(TopicError::NotFound { .. }) => {}
                Err(_) => garbage.skipped += 1,
            }
        }
        Ok(garbage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn own() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    /// What is wrong with the default root that `make` has made beforehand.
    fn wrong(user: u32, make: impl FnOnce(&Path)) -> String {
        let shared_memory = tempfile::tempdir().unwrap();
        let path = shared_memory.path().join(format!("memlane-{user}"));
        make(&path);
        let error = private_root(shared_memory.path(), user).unwrap_err();
        assert!(matches!(&error, BusError::NotPrivate { path: named, .. } if *named == path), "{error}");
        error.to_string()
    }

    #[test]
    fn the_default_root_is_made_private_and_taken_again() {
        let shared_memory = tempfile::tempdir().unwrap();
        let made = private_root(shared_memory.path(), own()).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(private_root(shared_memory.path(), own()).unwrap(), made);
    }

    #[test]
    fn a_default_root_that_somebody_else_made_or_may_write_to_is_refused() {
        let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        for open in [0o770, 0o707, 0o777] {
            let text = wrong(own(), |path| {
                std::fs::create_dir(path).unwrap();
                mode(path, open);
            });
            assert!(text.contains("others may write to it") && text.contains("MEMLANE_ROOT"), "{text}");
        }
        let foreign = wrong(own() + 1, |path| std::fs::create_dir(path).unwrap());
        assert!(foreign.contains("it belongs to another user"), "{foreign}");
        let elsewhere = tempfile::tempdir().unwrap();
        let link = wrong(own(), |path| std::os::unix::fs::symlink(elsewhere.path(), path).unwrap());
        assert!(link.contains("it is no directory"), "{link}");
        let file = wrong(own(), |path| std::fs::write(path, "").unwrap());
        assert!(file.contains("it is no directory"), "{file}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_a_taken_name_that_can_be_removed() {
        let root = tempfile::tempdir().unwrap();
        let bus = Bus::builder("links").root(root.path()).open().unwrap();
        std::os::unix::fs::symlink("nowhere", bus.directory().join("dangling")).unwrap();
        let error = bus.topic("dangling").unwrap().open_or_create().unwrap_err();
        assert!(error.to_string().contains("a topic of that name exists already"), "{error}");
        bus.remove("dangling").unwrap();
        bus.topic("dangling").unwrap().capacity_bytes(16384).open_or_create().unwrap();
    }
}
