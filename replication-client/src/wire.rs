//! [`Wire`]: what has come in and what shall go out, without I/O.

use bytes::BytesMut;

use crate::inbox::Inbox;

/// The two buffers between a protocol's state machine and whatever carries its bytes.
///
/// A state machine takes messages from `inbox` and appends to `outgoing`; a driver, or a test, does the opposite.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) inbox: Inbox,
    pub(crate) outgoing: BytesMut,
}
