//! CRC-32C, the checksum of WAL records, `pg_control` and manifests.
//!
//! Everything in the workspace that needs a CRC calls these, so that the implementation can be exchanged in one place:
//! with `std` one that uses the processor's own instructions, which only `std` can ask for, else one of tables. With
//! `crc-fast` those instructions are the widest that the processor has.

#[cfg(all(feature = "std", not(feature = "crc-fast")))]
use ::crc32c::crc32c_append as append;
#[cfg(feature = "std")]
use ::crc32c::crc32c_combine as combine;
#[cfg(not(feature = "std"))]
use tables::{append, combine};
#[cfg(feature = "crc-fast")]
use wide::append;

/// The CRC-32C (Castagnoli) of `bytes`, as `pg_crc32c` has it after `FIN_CRC32C`.
#[must_use]
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    append(0, bytes)
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
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.0 = append(self.0, bytes);
    }

    /// The same for the 20 bytes that end the checksum of every record. What came before goes into the first of them, so
    /// that they are like others that nothing came before: going on from there takes longer than these bytes do. In front of
    /// them come four that leave a remainder of 0, and eight at a time are quicker than one.
    #[inline]
    pub(crate) fn update_few(&mut self, bytes: &[u8; 20]) {
        let (Some((first, rest)), Some(last)) = (bytes.split_first_chunk(), bytes.last_chunk()) else { return };
        let Some(second) = rest.first_chunk() else { return };
        let first = u64::from(u32::from_le_bytes(*first) ^ !self.0) << 32 | u64::from(u32::MAX);
        self.0 = crc32c([first.to_le_bytes(), *second, *last].as_flattened());
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub const fn finish(self) -> u32 {
        self.0
    }
}

/// The CRC-32C of what `head` was computed over, followed by the `tail_len` bytes that `tail` was computed over.
pub(crate) fn crc32c_combine(head: Crc32c, tail: Crc32c, tail_len: usize) -> Crc32c {
    Crc32c(combine(head.0, tail.0, tail_len))
}

/// With vectors of any width that the processor has.
#[cfg(feature = "crc-fast")]
mod wide {
    use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

    #[inline]
    pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
        // Of no bytes, which needs none of the preparations.
        if crc == 0 { crc32_iscsi(bytes) } else { resumed(crc, bytes) }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the state of a CRC of 32 bits has no more")]
    fn resumed(crc: u32, bytes: &[u8]) -> u32 {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, (!crc).into());
        digest.update(bytes);
        digest.finalize() as u32
    }
}

/// Without the processor's help, some ten times slower.
#[cfg(any(not(feature = "std"), test))]
mod tables {
    use crc::{Algorithm, CRC_32_ISCSI, Crc, Table};

    static WHOLE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
    /// The remainder alone, without what is done to it before the first byte and after the last.
    static BARE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&Algorithm { init: 0, xorout: 0, ..CRC_32_ISCSI });

    pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
        resumed(&WHOLE, !crc, bytes)
    }

    /// A remainder is linear: that of the whole is that of `head` moved on by as many zeros as `tail` has bytes, and `tail`'s.
    pub(super) fn combine(head: u32, tail: u32, tail_len: usize) -> u32 {
        const ZEROS: [u8; 1024] = [0; 1024];
        let mut moved = head;
        let mut rest = tail_len;
        while let Some(zeros) = ZEROS.get(..rest.min(ZEROS.len())).filter(|zeros| !zeros.is_empty()) {
            moved = resumed(&BARE, moved, zeros);
            rest -= zeros.len();
        }
        moved ^ tail
    }

    /// The crate takes a remainder with its bits in the other order.
    fn resumed(crc: &Crc<u32, Table<16>>, remainder: u32, bytes: &[u8]) -> u32 {
        let mut digest = crc.digest_with_initial(remainder.reverse_bits());
        digest.update(bytes);
        digest.finalize()
    }
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
        fn few_bytes_go_on_from_many(many: Vec<u8>, few: [u8; 20]) {
            let mut crc = Crc32c::new();
            crc.update(&many);
            crc.update_few(&few);
            prop_assert_eq!(crc.finish(), crc32c(&[many.as_slice(), &few].concat()));
        }

        #[test]
        fn checksums_of_parts_make_up_that_of_the_whole(head: Vec<u8>, tail: Vec<u8>) {
            let crc = |bytes: &[u8]| Crc32c(crc32c(bytes));
            let whole = [head.as_slice(), tail.as_slice()].concat();
            prop_assert_eq!(crc32c_combine(crc(&head), crc(&tail), tail.len()), crc(&whole));
        }

        #[test]
        fn tables_make_the_same_checksums(head in prop::collection::vec(any::<u8>(), 0..3000), tail in prop::collection::vec(any::<u8>(), 0..3000)) {
            let whole = [head.as_slice(), tail.as_slice()].concat();
            let (first, second) = (tables::append(0, &head), tables::append(0, &tail));
            prop_assert_eq!(tables::append(first, &tail), crc32c(&whole));
            prop_assert_eq!(tables::combine(first, second, tail.len()), crc32c(&whole));
        }
    }
}
