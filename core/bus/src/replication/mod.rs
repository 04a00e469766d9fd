//! Topics on other hosts: a [`Follower`] reads a topic's messages in runs, for whoever carries them over, and a [`Replica`] publishes them there, each once.
//!
//! ```text
//!  host tokyo                                            host osaka
//!  topic ──> Follower ── messages, by position ──> … ──> Replica ──> topic
//!                                                        each message's source is tokyo:<epoch>, its number its position there and one
//! ```
//!
//! So osaka's log says by itself how far it has got with tokyo's, after whatever end of either, and however many ways a message came: what it has is left out ([`Replica::publish`]).
//! A message that came over a bridge keeps its origin wherever it is carried on, and one that comes back to where it was first published is left out too: meshes have no loops.

mod follower;
mod replica;

pub use follower::{Followed, FollowedMessage, Follower};
pub use memlane_ring::extension::MessageOrigin;
pub use replica::{CarriedMessage, Outcome, Replica, ReplicaError, Route};
