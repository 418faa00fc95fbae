//! `pg_xact`: what became of each transaction (`access/transam/clog.c`).

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// It had not ended, or a crash ended it.
    InProgress,
    /// It was committed.
    Committed,
    /// It was rolled back.
    RolledBack,
    /// It was a part of another one, which was about to commit.
    SubCommitted,
}

/// Where `pg_xact` says what became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusPlace {
    /// The number of the file; its name is that in hexadecimal, four digits at least.
    pub segment: u32,
    /// The byte in it.
    byte: usize,
    /// Which of that byte's four transactions.
    shift: u8,
}

impl StatusPlace {
    /// The place of a transaction in a cluster whose pages have `block_size` bytes.
    #[must_use]
    pub fn of(xid: u32, block_size: u16) -> Self {
        /// `SLRU_PAGES_PER_SEGMENT`.
        const PAGES: u32 = 32;
        const PER_BYTE: u32 = 4;
        let per_segment = PAGES * PER_BYTE * u32::from(block_size).max(1);
        let byte = usize::try_from(xid % per_segment / PER_BYTE).unwrap_or(usize::MAX);
        let shift = u8::try_from(xid % PER_BYTE * 2).unwrap_or(0);
        Self { segment: xid / per_segment, byte, shift }
    }

    /// Reads the status from the contents of that file. What lies behind its end has not ended.
    #[must_use]
    pub fn status(self, segment: &[u8]) -> TransactionStatus {
        match segment.get(self.byte).copied().unwrap_or(0) >> self.shift & 3 {
            0 => TransactionStatus::InProgress,
            1 => TransactionStatus::Committed,
            2 => TransactionStatus::RolledBack,
            _ => TransactionStatus::SubCommitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_transactions_share_a_byte_and_a_million_a_file() {
        let segment = [0b1110_0100];
        let found = [0, 1, 2, 3, 4].map(|xid| StatusPlace::of(xid, 8192).status(&segment));
        use TransactionStatus::{Committed, InProgress, RolledBack, SubCommitted};
        assert_eq!(found, [InProgress, Committed, RolledBack, SubCommitted, InProgress]);
        assert_eq!(StatusPlace::of(1_048_576 + 5, 8192), StatusPlace { segment: 1, byte: 1, shift: 2 });
        assert_eq!(StatusPlace::of(u32::MAX, 8192).segment, 0xFFF);
    }
}
