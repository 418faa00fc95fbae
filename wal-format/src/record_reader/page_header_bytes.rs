//! The header of a page, in pieces.

use crate::PageHeader;

/// The bytes of a page header that chunks may divide.
#[derive(Debug, Clone)]
pub(super) struct PageHeaderBytes {
    bytes: [u8; PageHeader::LONG_LEN],
    len: usize,
}

impl Default for PageHeaderBytes {
    fn default() -> Self {
        Self { bytes: [0; PageHeader::LONG_LEN], len: 0 }
    }
}

impl PageHeaderBytes {
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes from `input` until there are `len` bytes, then returns them and is empty again.
    pub(super) fn fill(&mut self, len: usize, input: &mut &[u8]) -> Option<[u8; PageHeader::LONG_LEN]> {
        let missing = self.bytes.get_mut(self.len..len)?;
        let taken = missing.len().min(input.len());
        let (head, rest) = input.split_at(taken);
        missing.get_mut(..taken)?.copy_from_slice(head);
        *input = rest;
        self.len += taken;
        if self.len < len {
            return None;
        }
        self.len = 0;
        Some(self.bytes)
    }
}
