//! Who may do what: classes of users, and the permission bits that let them.
//!
//! ```text
//!               bus     topic   log   subs
//!   look up     r-x                            list topics, open them by name
//!   create      rwx  t                         make topics, remove one's own
//!   observe             r-x     r--            lossy and latest-only subscribers, which nap between looks
//!   subscribe           r-x     r--   rw-      gated subscribers; lossy ones that are woken
//!   publish             r-x     rw-   rw-      publishers
//! ```
//!
//! The topic's directory follows from its files (`memlane_ring::topic`). `docs/security.md` has the whole table.

use memlane_ring::Permissions;

/// Users as the file system tells them apart. Each class has the ones before it in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserClass {
    /// The user whose files they are.
    #[default]
    Owner,
    /// Also the members of the files' group.
    Group,
    /// Also everybody else on this host, and in every container that has the directory.
    Everyone,
}

impl UserClass {
    /// `bits` (`r` 4, `w` 2, `x` 1) for each class up to this one.
    pub(crate) fn bits(self, bits: u32) -> u32 {
        match self {
            Self::Owner => bits << 6,
            Self::Group => bits << 6 | bits << 3,
            Self::Everyone => bits << 6 | bits << 3 | bits,
        }
    }
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const ENTER: u32 = 1;

/// The file system lets only its owner rename or remove what is in such a directory, as in `/tmp`.
const STICKY: u32 = 0o1000;

pub(crate) fn let_observe(permissions: &mut Permissions, class: UserClass) {
    permissions.log_mode |= class.bits(READ);
}

pub(crate) fn let_subscribe(permissions: &mut Permissions, class: UserClass) {
    let_observe(permissions, class);
    permissions.subs_mode |= class.bits(READ | WRITE);
}

pub(crate) fn let_publish(permissions: &mut Permissions, class: UserClass) {
    let_subscribe(permissions, class);
    permissions.log_mode |= class.bits(WRITE);
}

pub(crate) fn let_look_up(mode: &mut u32, class: UserClass) {
    *mode |= class.bits(READ | ENTER);
}

pub(crate) fn let_create(mode: &mut u32, class: UserClass) {
    *mode |= class.bits(READ | WRITE | ENTER);
    if class > UserClass::Owner {
        *mode |= STICKY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(permit: impl FnOnce(&mut Permissions)) -> (u32, u32) {
        let mut permissions = Permissions::default();
        permit(&mut permissions);
        (permissions.log_mode, permissions.subs_mode)
    }

    #[test]
    fn each_permission_has_the_bits_it_needs_and_no_more() {
        use UserClass::{Everyone, Group, Owner};
        for permit in [let_observe, let_subscribe, let_publish] {
            assert_eq!(modes(|permissions| permit(permissions, Owner)), (0o600, 0o600));
        }
        assert_eq!(modes(|permissions| let_observe(permissions, Group)), (0o640, 0o600));
        assert_eq!(modes(|permissions| let_subscribe(permissions, Group)), (0o640, 0o660));
        assert_eq!(modes(|permissions| let_publish(permissions, Group)), (0o660, 0o660));
        assert_eq!(modes(|permissions| let_observe(permissions, Everyone)), (0o644, 0o600));
        assert_eq!(modes(|permissions| let_subscribe(permissions, Everyone)), (0o644, 0o666));
        assert_eq!(modes(|permissions| let_publish(permissions, Everyone)), (0o666, 0o666));
    }

    #[test]
    fn permissions_add_up_in_any_order() {
        let first = modes(|permissions| {
            let_publish(permissions, UserClass::Group);
            let_observe(permissions, UserClass::Everyone);
        });
        let last = modes(|permissions| {
            let_observe(permissions, UserClass::Everyone);
            let_publish(permissions, UserClass::Group);
        });
        assert_eq!((first, last), ((0o664, 0o660), (0o664, 0o660)));
    }

    #[test]
    fn a_bus_where_others_make_topics_keeps_them_from_each_others() {
        let mode = |permit: fn(&mut u32, UserClass), class| {
            let mut mode = 0o700;
            permit(&mut mode, class);
            mode
        };
        assert_eq!(mode(let_look_up, UserClass::Group), 0o750);
        assert_eq!(mode(let_look_up, UserClass::Everyone), 0o755);
        assert_eq!(mode(let_create, UserClass::Owner), 0o700);
        assert_eq!(mode(let_create, UserClass::Group), 0o1770);
        assert_eq!(mode(let_create, UserClass::Everyone), 0o1777);
    }
}
