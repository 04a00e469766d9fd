//! What a topic is to be like if it must be made.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use memlane::{Bus, LastValuesOptions, OpenError, Publishers, RateLimit, Topic, TopicBuilder, TopicError, UserClass};
use nix::unistd::{Group, User};

use super::ending::complain;
use super::rate_limits::{self, Limits, parse_rate_limit};
use super::units;

/// How many publishers `--publishers many` stands for.
const PUBLISHERS_MANY: u32 = 64;

/// The options of a topic that doesn't exist yet. One that does is taken as it is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options for a topic that must be made")]
pub(super) struct TopicOptions {
    /// Size of the ring: a power of two, 4KiB to 64GiB [default: 4MiB]
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes)]
    capacity: Option<u64>,
    /// What frames are padded to: a power of two, 32 to 4096 [default: 64]
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes)]
    cell: Option<u64>,
    /// Longest message [default: what a quarter of the ring holds, which is also the most]
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes)]
    payload_max: Option<u64>,
    /// Alignment of messages in memory: a power of two, 8 to 64, at most the cell [default: 8]
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes)]
    payload_align: Option<u64>,
    /// How many can publish at a time: one, many (64), or a number up to 1024 [default: one]
    #[arg(long, value_name = "HOW MANY", value_parser = parse_publishers)]
    publishers: Option<Publishers>,
    /// How many gated subscribers there can be at a time, up to 65536 [default: 256]
    #[arg(long, value_name = "N")]
    subscribers_max: Option<u32>,
    /// Give each message the time of its publishing
    #[arg(long)]
    stamps: bool,
    /// Keep the last message of each key for late joiners: of so many keys, and messages of so many bytes with key and headers,
    /// as in 1000:256
    #[arg(long, value_name = "KEYS:BYTES", value_parser = parse_last_values)]
    last_values: Option<LastValuesOptions>,
    /// How much all publishers together may publish in a second, and at once: messages, as in 1000/s or 1000/s:50, or bytes, as in
    /// 1MiB/s:64KiB; may be given for both [default: no limit; a second's worth at once]
    #[arg(long, value_name = "N/s[:BURST]", value_parser = parse_rate_limit)]
    rate_limit: Vec<RateLimit>,
    /// Refuse gated subscribers, so that no subscriber ever holds a publisher up
    #[arg(long)]
    lossy_only: bool,
    /// Mark it as to be kept, for `memlane record --marked`; its messages get stamps
    #[arg(long)]
    journaled: bool,
    /// Who may observe, without ever being waited for: owner, group or everyone [default: owner]
    #[arg(long, value_name = "WHO", value_parser = parse_user_class)]
    may_observe: Option<UserClass>,
    /// Who may subscribe in every way, also so that publishers wait: owner, group or everyone [default: owner]
    #[arg(long, value_name = "WHO", value_parser = parse_user_class)]
    may_subscribe: Option<UserClass>,
    /// Who may publish, and subscribe: owner, group or everyone [default: owner]
    #[arg(long, value_name = "WHO", value_parser = parse_user_class)]
    may_publish: Option<UserClass>,
    /// Permission bits of the log, before --may-… add to them: who may observe (r) and publish (w) [default: 600]
    #[arg(long, value_name = "OCTAL", value_parser = units::parse_mode)]
    log_mode: Option<u32>,
    /// Permission bits of the subscriber table, likewise: who may subscribe gated (rw) [default: 600]
    #[arg(long, value_name = "OCTAL", value_parser = units::parse_mode)]
    subscribers_mode: Option<u32>,
    /// User whom the topic belongs to, by name or number; only root can give it away [default: that of this process]
    #[arg(long, value_name = "USER", value_parser = parse_user)]
    owner: Option<u32>,
    /// Group of the files, by name or number [default: that of this process]
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    group: Option<u32>,
    /// Ask for huge pages
    #[arg(long)]
    huge_pages: bool,
    /// Touch all memory beforehand, so that no message takes a page fault (the default)
    #[arg(long, overrides_with = "no_prefault")]
    prefault: bool,
    /// Let memory come page by page as it is used
    #[arg(long, overrides_with = "prefault")]
    no_prefault: bool,
    /// Keep the ring from being swapped out; needs `ulimit -l`
    #[arg(long)]
    lock_memory: bool,
}

fn parse_publishers(text: &str) -> Result<Publishers, String> {
    match text {
        "one" => Ok(Publishers::One),
        "many" => Ok(Publishers::Many(PUBLISHERS_MANY)),
        number => {
            number.parse().map(Publishers::Many).map_err(|_| "give `one`, `many`, or a number up to 1024".to_owned())
        }
    }
}

fn parse_last_values(text: &str) -> Result<LastValuesOptions, String> {
    let (keys, bytes) = text.split_once(':').ok_or("give KEYS:BYTES, as in 1000:256")?;
    let keys_max = u32::try_from(units::parse_count(keys)?).map_err(|_| "there are at most 1048576 keys")?;
    Ok(LastValuesOptions { keys_max, message_bytes_max: units::parse_bytes(bytes)? })
}

fn parse_group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err("there is no such group: give its name or its number".to_owned()),
        Err(error) => Err(format!("the groups can't be looked up ({error}): give its number")),
    }
}

fn parse_user(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("there is no such user: give its name or its number".to_owned()),
        Err(error) => Err(format!("the users can't be looked up ({error}): give its number")),
    }
}

fn parse_user_class(text: &str) -> Result<UserClass, String> {
    match text {
        "owner" => Ok(UserClass::Owner),
        "group" => Ok(UserClass::Group),
        "everyone" => Ok(UserClass::Everyone),
        _ => Err("give `owner`, `group` (of the files) or `everyone`".to_owned()),
    }
}

/// Says on stderr which directory above `topic` keeps those out who may use it.
fn complain_of_barred_way(topic: &Topic) {
    let enter = |path: &Path| path.metadata().map_or(0, |found| found.mode() & 0o011);
    let needed = enter(topic.directory());
    // The bus, and the directory where buses live.
    for directory in topic.directory().ancestors().skip(1).take(2) {
        let barred = needed & !enter(directory);
        if barred != 0 {
            let (who, bits) = if barred & 0o001 != 0 { ("everyone", "a+x") } else { ("the group", "g+x") };
            let path = directory.display();
            complain(&format!("{path} is closed to {who}, who may use the topic: chmod {bits} {path}"));
        }
    }
}

impl TopicOptions {
    /// Opens the topic `name`, or makes it. Says on stderr which options a topic that is there doesn't have.
    pub(super) fn open_or_create(&self, bus: &Bus, name: &str) -> anyhow::Result<Topic> {
        let builder = self.builder(bus.topic(name)?);
        let topic = match builder.create() {
            Err(OpenError::Topic(TopicError::Exists { .. })) => builder.open_or_create()?,
            other => {
                let topic = other?;
                complain_of_barred_way(&topic);
                return Ok(topic);
            }
        };
        for (option, found) in self.differences(&topic) {
            complain(&format!("topic {name} is there already, with {found}: {option} has no effect"));
        }
        Ok(topic)
    }

    fn builder(&self, mut builder: TopicBuilder) -> TopicBuilder {
        if let Some(bytes) = self.capacity {
            builder = builder.capacity_bytes(bytes);
        }
        if let Some(bytes) = self.cell {
            builder = builder.cell_bytes(bytes);
        }
        if let Some(bytes) = self.payload_max {
            builder = builder.payload_bytes_max(bytes);
        }
        if let Some(bytes) = self.payload_align {
            builder = builder.payload_align(bytes);
        }
        if let Some(publishers) = self.publishers {
            builder = builder.publishers(publishers);
        }
        if let Some(count) = self.subscribers_max {
            builder = builder.subscribers_max(count);
        }
        if let Some(LastValuesOptions { keys_max, message_bytes_max }) = self.last_values {
            builder = builder.last_values(keys_max, message_bytes_max);
        }
        if let Some(mode) = self.log_mode {
            builder = builder.log_mode(mode);
        }
        if let Some(mode) = self.subscribers_mode {
            builder = builder.subscribers_mode(mode);
        }
        if let Some(class) = self.may_observe {
            builder = builder.may_observe(class);
        }
        if let Some(class) = self.may_subscribe {
            builder = builder.may_subscribe(class);
        }
        if let Some(class) = self.may_publish {
            builder = builder.may_publish(class);
        }
        if let Some(user) = self.owner {
            builder = builder.owner(user);
        }
        if let Some(group) = self.group {
            builder = builder.group(group);
        }
        builder
            .stamps(self.stamps)
            .rate_limit(rate_limits::together(&self.rate_limit))
            .lossy_only(self.lossy_only)
            .journaled(self.journaled)
            .huge_pages(self.huge_pages)
            .prefault(self.prefault || !self.no_prefault)
            .lock_memory(self.lock_memory)
    }

    /// The options that were given and that `topic` doesn't have, with what it has instead.
    fn differences(&self, topic: &Topic) -> Vec<(&'static str, String)> {
        let info = topic.info();
        let found = &info.options;
        let mut differences = Vec::new();
        let mut compare = |option, wanted: Option<u64>, found: u64| {
            if wanted.is_some_and(|wanted| wanted != found) {
                differences.push((option, units::bytes(found)));
            }
        };
        compare("--capacity", self.capacity, found.capacity);
        compare("--cell", self.cell, found.cell);
        compare("--payload-max", self.payload_max, info.payload_bytes_max);
        compare("--payload-align", self.payload_align, found.payload_align);
        if self.publishers.is_some_and(|wanted| wanted != found.publishers) {
            differences.push(("--publishers", format!("{} for publishers", publishers(found.publishers))));
        }
        if self.subscribers_max.is_some_and(|wanted| wanted != found.subscribers_max) {
            differences.push(("--subscribers-max", format!("{} slots for subscribers", found.subscribers_max)));
        }
        if self.stamps && !found.stamps {
            differences.push(("--stamps", "no stamps".to_owned()));
        }
        if self.last_values.is_some_and(|wanted| Some(wanted) != found.last_values) {
            differences.push(("--last-values", last_values(found.last_values)));
        }
        if !self.rate_limit.is_empty() && rate_limits::together(&self.rate_limit) != found.rate_limit {
            let limits = Limits::words(Limits::of(&found.rate_limit).as_ref());
            differences.push(("--rate-limit", format!("rate limit: {limits}")));
        }
        if self.lossy_only && !found.lossy_only {
            differences.push(("--lossy-only", "room for gated subscribers".to_owned()));
        }
        if self.journaled && !found.journaled {
            differences.push(("--journaled", "no mark for recorders".to_owned()));
        }
        differences.extend(self.permission_differences(topic));
        differences
    }

    /// The same for permissions, as far as this process can look at the files.
    fn permission_differences(&self, topic: &Topic) -> Vec<(&'static str, String)> {
        let look = |file: &str| topic.directory().join(file).metadata();
        let (Ok(log), Ok(subs)) = (look("log"), look("subs")) else { return Vec::new() };
        let mut differences = Vec::new();
        for (option, wanted, found) in
            [("--owner", self.owner, ("owner", log.uid())), ("--group", self.group, ("group", log.gid()))]
        {
            if wanted.is_some_and(|wanted| wanted != found.1) {
                differences.push((option, format!("{} {}", found.0, found.1)));
            }
        }
        // A mode, or those of the bits that permissions in words need.
        let mut compare = |option, wanted: Option<u32>, mask: Option<u32>| {
            let found = (log.mode() & 0o777) << 9 | subs.mode() & 0o777;
            if wanted.is_some_and(|wanted| found & mask.unwrap_or(wanted) != wanted) {
                let modes =
                    format!("mode {:03o} of its log and {:03o} of its subscriber table", found >> 9, found & 0o777);
                differences.push((option, modes));
            }
        };
        let in_words = self.may_observe.or(self.may_subscribe).or(self.may_publish).is_some();
        let exactly = |mask: u32| (!in_words).then_some(mask);
        compare("--log-mode", self.log_mode.map(|mode| mode << 9), exactly(0o777 << 9));
        compare("--subscribers-mode", self.subscribers_mode, exactly(0o777));
        compare("--may-observe", self.may_observe.map(|class| for_class(class, 0o4_000)), None);
        compare("--may-subscribe", self.may_subscribe.map(|class| for_class(class, 0o4_006)), None);
        compare("--may-publish", self.may_publish.map(|class| for_class(class, 0o6_006)), None);
        differences
    }
}

/// `bits` of a log's mode (times 512) and of a subscriber table's, for each class of users up to `class`.
fn for_class(class: UserClass, bits: u32) -> u32 {
    match class {
        UserClass::Owner => bits << 6,
        UserClass::Group => bits << 6 | bits << 3,
        UserClass::Everyone => bits << 6 | bits << 3 | bits,
    }
}

/// What a topic keeps of each key, in words.
pub(super) fn last_values(options: Option<LastValuesOptions>) -> String {
    options.map_or_else(
        || "no last values".to_owned(),
        |LastValuesOptions { keys_max, message_bytes_max }| {
            format!(
                "last values of up to {} keys, of up to {} each",
                units::count(keys_max.into()),
                units::bytes(message_bytes_max)
            )
        },
    )
}

/// How many publishers a topic has room for, in words.
pub(super) fn publishers(publishers: Publishers) -> String {
    match publishers {
        Publishers::One => "room for one".to_owned(),
        Publishers::Many(count) => format!("room for {count}"),
    }
}
