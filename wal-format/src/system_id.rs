//! Which cluster something belongs to.

use core::fmt;
use core::str::FromStr;

use nom::Parser as _;

use crate::syntax::{SyntaxError, decimal, expect, parse_all};

/// The system identifier: the number `initdb` gives a cluster for life, shared by its standbys and its backups.
///
/// It stands in `pg_control`, in the first page of every WAL segment and in `IDENTIFY_SYSTEM`, and is the only thing
/// that tells WAL of one cluster from WAL of another. Printed in decimal, as `pg_controldata` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemId(u64);

impl SystemId {
    /// The identifier of this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SystemId {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse_all(text.as_bytes(), expect("a system identifier", decimal).map(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_not_a_64_bit_number() {
        for text in ["", "-1", "18446744073709551616", "7 "] {
            assert!(text.parse::<SystemId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_print(value: u64) {
            prop_assert_eq!(SystemId::new(value).to_string().parse(), Ok(SystemId::new(value)));
        }
    }
}
