//! The topics of a bus, as they come and go.

use memlane::{Bus, BusError};
use memlane_ring::BusBell;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the bus's count of changes is looked at, which is a load.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the bus is looked through in any case.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// The names of the topics, as they are now.
pub(crate) type Names = watch::Receiver<Arc<BTreeSet<String>>>;

/// The topics that there are, and a task that keeps them up to date.
///
/// Errors: those of listing them.
pub(crate) fn watch(bus: Bus) -> Result<(Names, impl Future<Output = ()> + Send + 'static), BusError> {
    let bell = BusBell::open(bus.directory());
    let mut seen = bell.as_ref().map(BusBell::changes);
    let names: BTreeSet<String> = bus.topics()?.into_iter().collect();
    let (sender, receiver) = watch::channel(Arc::new(names));
    let watching = async move {
        let (mut bell, mut looked) = (bell, Instant::now());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = bell.as_ref().map(BusBell::changes);
            if now == seen && now.is_some() && looked.elapsed() < LOOK_ANYWAY {
                continue;
            }
            if looked.elapsed() >= LOOK_ANYWAY || bell.is_none() {
                // The bus may have been removed and made anew, with another bell.
                bell = BusBell::open(bus.directory());
            }
            (seen, looked) = (bell.as_ref().map(BusBell::changes), Instant::now());
            // One that can't be listed now may be later.
            let Ok(names) = bus.topics() else { continue };
            let names: BTreeSet<String> = names.into_iter().collect();
            sender.send_if_modified(|known| {
                let is_new = **known != names;
                if is_new {
                    *known = Arc::new(names);
                }
                is_new
            });
        }
    };
    Ok((receiver, watching))
}
