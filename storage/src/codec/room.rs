//! Memory that is used again.

use std::sync::{Arc, Mutex, PoisonError};

/// Room for whole contents, kept from one file for the next: the system clears memory before it hands it out, and to ask for
/// 16 MiB anew for each segment takes a seventh of the time in which zstd compresses it.
///
/// Clones share the room; whoever compresses while another one has it gets new memory.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<Mutex<Buffers>>);

/// What is compressed, and what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) contents: Vec<u8>,
    pub(super) compressed: Vec<u8>,
}

impl Room {
    pub(super) fn take(&self) -> Buffers {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn give_back(&self, buffers: Buffers) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = buffers;
    }
}
