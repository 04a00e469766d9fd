//! The socket's buffers.

use nix::sys::socket::{setsockopt, sockopt};
use std::net::UdpSocket;

/// Asks for buffers of so many bytes: what the system's limits don't grant it cuts, unless the process may pass them by.
pub fn enlarge_buffers(socket: &UdpSocket, bytes: usize) {
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &bytes);
    }
    if setsockopt(socket, sockopt::SndBufForce, &bytes).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &bytes);
    }
}
