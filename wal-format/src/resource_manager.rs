//! Who writes records, and who replays them.

use core::fmt;

use crate::PgMajor;

/// The number of a resource manager (`RmgrId`): the part of PostgreSQL, or the extension, that a record is for.
///
/// Printed by its name, as `pg_waldump` does; [`ResourceManager::name`] has it as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceManager(u8);

/// `access/rmgrlist.h`: the same numbers and names in every version from 13 to 19.
const BUILT_IN: [&str; 22] = [
    "XLOG",
    "Transaction",
    "Storage",
    "CLOG",
    "Database",
    "Tablespace",
    "MultiXact",
    "RelMap",
    "Standby",
    "Heap2",
    "Heap",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "Sequence",
    "SPGist",
    "BRIN",
    "CommitTs",
    "ReplicationOrigin",
    "Generic",
    "LogicalMessage",
];

#[allow(missing_docs, reason = "the names say it all")]
impl ResourceManager {
    pub const XLOG: Self = Self(0);
    pub const TRANSACTION: Self = Self(1);
    pub const STORAGE: Self = Self(2);
    pub const DATABASE: Self = Self(4);
    pub const TABLESPACE: Self = Self(5);
    pub const REL_MAP: Self = Self(7);
    pub const HEAP2: Self = Self(9);
    pub const HEAP: Self = Self(10);
}

impl ResourceManager {
    /// The first number that extensions may use (`RM_MIN_CUSTOM_ID`).
    const FIRST_CUSTOM: u8 = 128;

    /// The resource manager of this number, whether or not any version has it.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its name in PostgreSQL itself; `None` for an extension's, whose name stands nowhere in the WAL.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        BUILT_IN.get(usize::from(self.0)).copied()
    }

    /// Whether records of `major` can be for it (`RmgrIdIsValid`).
    #[must_use]
    #[inline]
    pub const fn exists_in(self, major: PgMajor) -> bool {
        (self.0 as usize) < BUILT_IN.len() || (self.0 >= Self::FIRST_CUSTOM && major.facts().custom_resource_managers)
    }
}

/// The name, or `custom` and the number, as `pg_waldump` prints them.
impl fmt::Display for ResourceManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "custom{:03}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn numbers_stand_for_names() {
        for (manager, name) in [
            (ResourceManager::XLOG, "XLOG"),
            (ResourceManager::TRANSACTION, "Transaction"),
            (ResourceManager::STORAGE, "Storage"),
            (ResourceManager::DATABASE, "Database"),
            (ResourceManager::TABLESPACE, "Tablespace"),
            (ResourceManager::REL_MAP, "RelMap"),
            (ResourceManager::HEAP2, "Heap2"),
            (ResourceManager::HEAP, "Heap"),
            (ResourceManager::new(21), "LogicalMessage"),
            (ResourceManager::new(128), "custom128"),
        ] {
            assert_eq!(manager.to_string(), name);
        }
    }

    #[test]
    fn extensions_have_resource_managers_since_15() {
        let exists = |number, major| ResourceManager::new(number).exists_in(major);
        assert!(exists(21, PgMajor::V13) && !exists(22, PgMajor::V19) && !exists(127, PgMajor::V19));
        assert!(!exists(128, PgMajor::V14) && exists(128, PgMajor::V15) && exists(255, PgMajor::V19));
    }
}
