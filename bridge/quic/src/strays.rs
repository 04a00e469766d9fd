//! Datagrams that belong to no connection and begin none: counted where they come in, since QUIC drops them without a word.

use crate::quiet::Quiet;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};
use quinn_proto::HashedConnectionIdGenerator;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// Bytes of a connection's number here.
const ID_BYTES: usize = 8;
/// A datagram with the begin of a connection has at least so many bytes (RFC 9000, section 14.1).
const FIRST_BYTES_MIN: usize = 1200;
/// QUIC's version 1.
const VERSION: [u8; 4] = [0, 0, 0, 1];

/// Which numbers connections here have: they carry a sum with a key.
pub(crate) type Ids = HashedConnectionIdGenerator;

/// A socket whose strays are counted.
pub(crate) struct Watched {
    pub(crate) socket: Arc<dyn AsyncUdpSocket>,
    pub(crate) ids: Ids,
    pub(crate) strays: Arc<Strays>,
}

/// How many there were.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    pub(crate) count: AtomicU64,
    quiet: Quiet,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watched").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Watched {
    fn look(&self, bytes: &[u8], meta: &RecvMeta) {
        // Datagrams that the system hands over as one come from one sender, one after the other: the first stands for all.
        let length = meta.stride.min(meta.len).min(bytes.len());
        if length == 0 || !is_stray(&bytes[..length], &self.ids) {
            return;
        }
        let count = meta.len.div_ceil(meta.stride.max(1)) as u64;
        let total = self.strays.count.fetch_add(count, Ordering::Relaxed) + count;
        if let Some(left_out) = self.strays.quiet.may() {
            let left_out = left_out.0;
            tracing::warn!(from = %meta.addr, total, left_out, "datagrams come that belong to no connection: dropped");
        }
    }
}

/// Whether a datagram belongs to no connection and begins none.
fn is_stray(datagram: &[u8], ids: &Ids) -> bool {
    let is_known = |id: &[u8]| ids.validate(&ConnectionId::new(id)).is_ok();
    match datagram {
        // Peers that have agreed to it may turn the bit over that is set otherwise (RFC 9287).
        [first, rest @ ..] if first & 0x80 == 0 => rest.get(..ID_BYTES).is_none_or(|id| !is_known(id)),
        [first, rest @ ..] => {
            let Some(([version, id_length], ids_on)) =
                rest.split_at_checked(5).map(|(head, on)| ([&head[..4], &head[4..]], on))
            else {
                return true;
            };
            let (is_ours, length) = (version == VERSION, usize::from(id_length[0]));
            let id = ids_on.get(..length);
            let is_begin = first & 0x70 == 0x40 && datagram.len() >= FIRST_BYTES_MIN && (8..=20).contains(&length);
            !is_ours || !(is_begin || (length == ID_BYTES && id.is_some_and(is_known)))
        }
        [] => true,
    }
}

impl AsyncUdpSocket for Watched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.socket.poll_recv(context, buffers, metas));
        if let Ok(count) = received {
            buffers.iter().zip(&*metas).take(count).for_each(|(buffer, meta)| self.look(buffer, meta));
        }
        Poll::Ready(received)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_or_begins_one_is_no_stray_and_all_else_is() {
        let mut ids = Ids::from_key(7);
        let id = ids.generate_cid();
        let short = |id: &[u8]| [&[0x41][..], id, &[9; 30]].concat();
        let long = |first: u8, version: [u8; 4], id: &[u8], bytes: usize| {
            let mut datagram = [&[first][..], &version, &[id.len() as u8], id, &[0; 40]].concat();
            datagram.resize(bytes, 0);
            datagram
        };
        for datagram in [
            short(&id),
            [&[0x01][..], &id, &[9; 30]].concat(),
            long(0xe0, VERSION, &id, 99),
            long(0xc0, VERSION, &[5; 8], 1200),
        ] {
            assert!(!is_stray(&datagram, &ids), "{datagram:?}");
        }
        for datagram in [
            Vec::new(),
            vec![0x41],
            b"GET / HTTP/1.1".to_vec(),
            short(&[5; 8]),
            [&[0x01][..], &[5; 40]].concat(),
            long(0x80, VERSION, &[5; 8], 1200),
            vec![0xc0, 0, 0],
            long(0xc0, VERSION, &[5; 8], 1199),
            long(0xc0, VERSION, &[5; 7], 1200),
            long(0xc0, [0, 0, 0, 2], &[5; 8], 1200),
            long(0xe0, VERSION, &[5; 8], 1200),
        ] {
            assert!(is_stray(&datagram, &ids), "{datagram:?}");
        }
    }
}
