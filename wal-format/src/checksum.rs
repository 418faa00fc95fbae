//! CRC-32C, the checksum of WAL records, `pg_control` and manifests.
//!
//! Everything in the workspace that needs a CRC calls these, so that the implementation can be exchanged in one place.

/// The CRC-32C (Castagnoli) of `bytes`, as `pg_crc32c` has it after `FIN_CRC32C`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// The CRC-32C of bytes that come in pieces.
///
/// ```
/// use wal_format::{Crc32c, crc32c};
///
/// let mut crc = Crc32c::new();
/// crc.update(b"1234");
/// crc.update(b"56789");
/// assert_eq!(crc.finish(), 0xE306_9283);
/// assert_eq!(crc.finish(), crc32c(b"123456789"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Before any byte.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0 = ::crc32c::crc32c_append(self.0, bytes);
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub const fn finish(self) -> u32 {
        self.0
    }
}

/// The CRC-32C of what `head` was computed over, followed by the `tail_len` bytes that `tail` was computed over.
pub(crate) fn crc32c_combine(head: Crc32c, tail: Crc32c, tail_len: usize) -> Crc32c {
    Crc32c(::crc32c::crc32c_combine(head.0, tail.0, tail_len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_do_not_change_the_checksum(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut crc = Crc32c::new();
            crc.update(head);
            crc.update(tail);
            prop_assert_eq!(crc.finish(), crc32c(&bytes));
        }

        #[test]
        fn checksums_of_parts_make_up_that_of_the_whole(head: Vec<u8>, tail: Vec<u8>) {
            let crc = |bytes: &[u8]| Crc32c(crc32c(bytes));
            let whole = [head.as_slice(), tail.as_slice()].concat();
            prop_assert_eq!(crc32c_combine(crc(&head), crc(&tail), tail.len()), crc(&whole));
        }
    }
}
