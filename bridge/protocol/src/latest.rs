//! Messages of flows of the newest ones: each by itself, in a datagram or on a stream of its own, and passed over if a newer one has come.

use crate::batch::Message;
use crate::codec::{Cursor, Fields, Malformed};
use crate::connection::{Connection, State};
use crate::control::Mode;
use crate::event::{Event, SendError};
use crate::flow::{Phase, Role};
use crate::layout::{LATEST_BYTES_MAX, LATEST_HEAD_BYTES, LATEST_MAGIC, flag};
use crate::peer::Fault;
use memlane_ring::layout::POSITION_END;

impl Connection {
    /// The datagram of a message of a flow of the newest ones. If it is too long for one: a stream of its own, [`Connection::latest_stream_head`] and the same bytes on it. No credit is needed: what the peer
    /// has no time for is dropped on the way.
    ///
    /// Errors: [`SendError`]; nothing is to be sent.
    pub fn send_latest(&mut self, flow: u32, message: &Message<'_>) -> Result<Vec<u8>, SendError> {
        let sending = self.flows.get_mut(&flow).filter(|flow| flow.phase == Phase::Running);
        let sending = sending.filter(|flow| flow.role == Role::Sender && flow.mode == Mode::Latest);
        let sending = sending.ok_or(SendError::NotSending)?;
        if sending.position.is_some_and(|last| message.position <= last) {
            return Err(SendError::OutOfOrder);
        }
        if LATEST_HEAD_BYTES + message.content.len() > LATEST_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        sending.position = Some(message.position);
        let flags = if message.has_extensions { flag::EXTENSIONS } else { 0 };
        let mut fields = Fields { bytes: Vec::with_capacity(LATEST_HEAD_BYTES + message.content.len()) };
        fields.u32(flow).u8(flags).u8(0).u16(0).u64(message.position).u64(message.unix_ns);
        fields.bytes.extend_from_slice(message.content);
        Ok(fields.bytes)
    }

    /// What a stream begins with that has a message which is too long for a datagram: before those of [`Connection::send_latest`].
    #[must_use]
    pub fn latest_stream_head() -> [u8; 4] {
        LATEST_MAGIC.to_le_bytes()
    }

    /// Takes in a datagram.
    pub fn receive_datagram(&mut self, bytes: &[u8], now_unix_ns: u64) {
        if self.state != State::Closed {
            self.heard_ns = now_unix_ns;
            self.take_latest(bytes);
        }
    }

    pub(crate) fn take_latest(&mut self, bytes: &[u8]) {
        let read = || -> Result<_, Malformed> {
            let mut from = Cursor::new(bytes);
            let (flow, flags, _) = (from.u32()?, from.u8()?, from.take(3)?);
            let (position, unix_ns) = (from.u64()?, from.u64()?);
            if position >= POSITION_END {
                return Err(Malformed { at: 8, what: "a position where no log is" });
            }
            Ok((flow, flags, position, unix_ns))
        };
        let (number, flags, position, unix_ns) = match read() {
            Ok(fields) => fields,
            Err(error) => return self.fail(Fault::from(error)),
        };
        // One that overtook the flow's opening, or comes after its end, or after a newer one.
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let is_its_own = flow.phase == Phase::Running && flow.role == Role::Receiver && flow.mode == Mode::Latest;
        if !is_its_own || flow.position.is_some_and(|last| position <= last) {
            return;
        }
        flow.position = Some(position);
        let (has_extensions, content) = (flags & flag::EXTENSIONS != 0, bytes[LATEST_HEAD_BYTES..].to_vec());
        self.tell(Event::Latest { flow: number, position, unix_ns, has_extensions, content });
    }
}

#[cfg(test)]
#[path = "latest_tests.rs"]
mod tests;
