//! [`Decoder`] of a build without the feature `decompress`: there is none.

use bytes::Bytes;

use crate::protocol_error::ProtocolError;

/// Has no values.
pub(super) enum Decoder {}

impl Decoder {
    pub(super) fn feed(&mut self, _: Bytes) {
        match *self {}
    }

    pub(super) fn poll(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        match *self {}
    }

    pub(super) fn finish(&mut self) -> Result<(), ProtocolError> {
        match *self {}
    }
}
