//! Which records are printed.

use std::str::FromStr;
use wal_format::{Lsn, Record, RelFileLocator, ResourceManager};

/// What a record has to be like; whatever is `None` or empty does not matter.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) start: Option<Lsn>,
    pub(super) end: Option<Lsn>,
    pub(super) managers: Vec<ManagerName>,
    pub(super) xid: Option<u32>,
    pub(super) relation: Option<Relation>,
}

impl Selection {
    /// Whether neither this record nor any after it in the log is wanted.
    pub(super) fn is_past(&self, at: Lsn) -> bool {
        self.end.is_some_and(|end| at >= end)
    }

    pub(super) fn includes(&self, record: &Record<'_>) -> bool {
        let manager = record.header.manager;
        self.start.is_none_or(|start| record.start >= start)
            && (self.managers.is_empty() || self.managers.contains(&ManagerName(manager)))
            && self.xid.is_none_or(|xid| record.header.xid == xid)
            && self.relation.is_none_or(|relation| relation.occurs_in(record))
    }
}

/// A resource manager, by the name that is printed for it, in letters of either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ManagerName(ResourceManager);

impl FromStr for ManagerName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = || {
            (0..=u8::MAX).map(ResourceManager::new).filter(|manager| manager.name().is_some() || manager.get() > 127)
        };
        let found = all().find(|manager| manager.to_string().eq_ignore_ascii_case(name));
        found.map(Self).ok_or_else(|| {
            let known: Vec<&str> = all().filter_map(ResourceManager::name).collect();
            format!("expected one of {}, or custom128 to custom255", known.join(", "))
        })
    }
}

/// The file of a relation, in whatever tablespace unless one is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relation {
    tablespace: Option<u32>,
    database: u32,
    number: u32,
}

impl Relation {
    fn occurs_in(self, record: &Record<'_>) -> bool {
        record.contents().is_ok_and(|contents| contents.blocks().any(|block| self.is(block.relation)))
    }

    fn is(self, file: RelFileLocator) -> bool {
        self.tablespace.is_none_or(|tablespace| tablespace == file.tablespace)
            && (self.database, self.number) == (file.database, file.number)
    }
}

impl FromStr for Relation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Option<Vec<u32>> = text.split('/').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[database, number]) => Ok(Self { tablespace: None, database, number }),
            Some(&[tablespace, database, number]) => Ok(Self { tablespace: Some(tablespace), database, number }),
            _ => Err("expected DATABASE/RELATION or TABLESPACE/DATABASE/RELATION, such as 5/16384"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_named_as_they_are_printed() {
        for (name, number) in [("Heap", 10), ("btree", 11), ("CUSTOM128", 128), ("custom255", 255)] {
            assert_eq!(name.parse(), Ok(ManagerName(ResourceManager::new(number))));
        }
        for name in ["", "heap3", "custom127", "custom"] {
            assert!(name.parse::<ManagerName>().is_err_and(|error| error.contains("Heap2, Heap,")), "{name}");
        }
    }

    #[test]
    fn a_relation_is_two_numbers_or_three() {
        let file = RelFileLocator { tablespace: 1663, database: 5, number: 16384 };
        for (text, is_it) in [("5/16384", true), ("1663/5/16384", true), ("1664/5/16384", false), ("5/16385", false)] {
            assert_eq!(text.parse::<Relation>().expect("numbers").is(file), is_it, "{text}");
        }
        for text in ["", "5", "5/", "a/b", "1/2/3/4"] {
            assert!(text.parse::<Relation>().is_err(), "{text}");
        }
    }
}
