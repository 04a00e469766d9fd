//! A request with fields beside its message.

use super::client::Client;
use super::error::CallError;
use super::reply::{Pending, Reply};
use crate::error::PublishError;
use crate::raw::Trusted;
use memlane_ring::extension::{Block, TraceContext};
use std::time::Duration;

/// A request that is being given headers and other fields: each of these once, headers as many as there is room for.
///
/// Cost of a field: its bytes and 4 more in the message, copied three times; no allocation once the client is warm.
#[derive(Debug)]
pub struct OutgoingRequest<'a, Q: ?Sized, R: ?Sized> {
    client: &'a mut Client<Q, R>,
}

impl<'a, Q: ?Sized + Trusted, R: ?Sized + Trusted> OutgoingRequest<'a, Q, R> {
    /// The client's block holds the fields; it has none yet.
    pub(super) fn new(client: &'a mut Client<Q, R>) -> Self {
        Self { client }
    }

    /// Adds a header: a key of 1 to 255 bytes, and a value. Errors: [`PublishError::Extension`].
    pub fn header(self, key: &str, value: &[u8]) -> Result<Self, PublishError> {
        self.client.block.user_header(key, value)?;
        Ok(self)
    }

    /// Says what the request is about. Errors: [`PublishError::Extension`].
    pub fn key(self, key: &[u8]) -> Result<Self, PublishError> {
        self.client.block.key(key)?;
        Ok(self)
    }

    /// Says which trace it belongs to, and below which span. Errors: [`PublishError::Extension`].
    pub fn trace_context(self, context: TraceContext) -> Result<Self, PublishError> {
        self.client.block.trace_context(context)?;
        Ok(self)
    }

    /// Adds what tracing systems on the way want passed on. Errors: [`PublishError::Extension`].
    pub fn trace_state(self, state: &str) -> Result<Self, PublishError> {
        self.client.block.trace_state(state)?;
        Ok(self)
    }

    /// Says what kind of bytes the payload is. Errors: [`PublishError::Extension`].
    pub fn content_type(self, content_type: &str) -> Result<Self, PublishError> {
        self.client.block.content_type(content_type)?;
        Ok(self)
    }

    /// Says which schema the payload follows. Errors: [`PublishError::Extension`].
    pub fn schema_id(self, id: u64) -> Result<Self, PublishError> {
        self.client.block.schema_id(id)?;
        Ok(self)
    }

    /// As [`Client::call`].
    pub fn call(self, request: &Q, timeout: Duration) -> Result<Reply<'a, R>, CallError> {
        let client = self.client;
        let deadline = client.start_if(client.options.tells_deadlines, timeout);
        let (index, id) = dispatch(client, request, timeout, deadline)?;
        client.reply_to_call(index, id, timeout)
    }

    /// As [`Client::send_within`].
    pub fn send_within(self, request: &Q, timeout: Duration) -> Result<Pending, CallError> {
        let (index, id) = dispatch(self.client, request, timeout, None)?;
        Ok(self.client.note_pending(index, id))
    }
}

fn dispatch<Q: ?Sized + Trusted, R: ?Sized + Trusted>(
    client: &mut Client<Q, R>,
    request: &Q,
    timeout: Duration,
    deadline_unix_ns: Option<u64>,
) -> Result<(usize, u128), CallError> {
    let index = client.choose()?;
    client.last_id += 1;
    let fields = std::mem::take(&mut client.block);
    let extend = |block: &mut Block| -> Result<(), PublishError> {
        block.clone_from(&fields);
        Ok(deadline_unix_ns.map_or(Ok(()), |at| block.deadline(at))?)
    };
    let id = client.last_id;
    let sent = client.dispatch_patiently(index, id, request, timeout, extend);
    client.block = fields;
    sent
}
