//! A bus for the time of a demo.

use memlane::{Bus, BusError, TopicBuilder};

use crate::commands::place::Place;

const PREFIX: &str = "demo-";

/// A bus of its own; dropping it removes it with all its topics.
#[derive(Debug)]
pub(super) struct TemporaryBus {
    bus: Bus,
    place: Place,
}

impl TemporaryBus {
    /// Makes one, where `place` has its buses. Removes those that killed demos left.
    pub(super) fn create(place: &Place) -> Result<Self, BusError> {
        let place = place.of_bus(format!("{PREFIX}{}", std::process::id()));
        let bus = place.open()?;
        remove_abandoned(&bus, &place);
        Ok(Self { bus, place })
    }

    pub(super) fn topic(&self, name: &str) -> Result<TopicBuilder, BusError> {
        self.bus.topic(name)
    }

    /// Where its processes find it.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for TemporaryBus {
    fn drop(&mut self) {
        remove(&self.bus);
    }
}

/// What can't be removed is left to the next demo.
fn remove(bus: &Bus) {
    for topic in bus.topics().unwrap_or_default() {
        let _ = bus.remove(&topic);
    }
    let _ = bus.remove_if_empty();
}

/// Removes the buses of demos that were killed: their process is gone, and nobody is attached.
fn remove_abandoned(ours: &Bus, place: &Place) {
    let entries = ours.directory().parent().and_then(|root| std::fs::read_dir(root).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(Ok(pid)) = name.strip_prefix(PREFIX).map(str::parse::<u32>) else { continue };
        let lives = std::path::Path::new("/proc").join(pid.to_string()).exists();
        if !lives
            && let Ok(bus) = place.builder(&name).create(false).open()
            && is_deserted(&bus)
        {
            remove(&bus);
        }
    }
}

/// Whether nobody is attached to any topic. (The process may live in another namespace, where its id means another one.)
fn is_deserted(bus: &Bus) -> bool {
    let is_deserted = |name: &String| {
        let now = bus.topic(name).ok()?.open().ok()?.snapshot().ok()?;
        Some(now.publishers.is_empty() && now.subscribers.is_empty())
    };
    let topics = bus.topics().unwrap_or_default();
    !topics.is_empty() && topics.iter().all(|name| is_deserted(name).unwrap_or(false))
}
