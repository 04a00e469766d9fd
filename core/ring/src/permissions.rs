//! Who may do what with a topic: modes and owner of its files.

use crate::error::TopicError;
use memlane_shm::Owner;

/// Who may do what with a topic's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Mode of `log`, and of `last`: write permission is permission to publish, read permission to observe.
    pub log_mode: u32,
    /// Mode of `subs`: write permission is permission to subscribe with a slot.
    pub subs_mode: u32,
    /// Whom both files and the directory belong to.
    pub owner: Owner,
}

impl Default for Permissions {
    /// The owner alone.
    fn default() -> Self {
        Self { log_mode: 0o600, subs_mode: 0o600, owner: Owner::default() }
    }
}

impl Permissions {
    pub(crate) fn check(&self) -> Result<(), TopicError> {
        for (option, mode) in [("log_mode", self.log_mode), ("subscribers_mode", self.subs_mode)] {
            if mode > 0o777 {
                let reason = "permission bits are 0o777 at most, in octal";
                return Err(TopicError::BadOption { option, value: mode.into(), reason });
            }
        }
        Ok(())
    }
}
