//! Rows of the catalogs, and what transactions that have not ended did to them.

use std::collections::BTreeMap;

use wal_format::{ClassRow, DatabaseRow, NamespaceRow, PgMajor, RelFileLocator, RowPlace};

use super::Table;

/// A row, with the OID of its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Class(u32, ClassRow),
    Namespace(u32, NamespaceRow),
    Database(DatabaseRow),
}

impl Row {
    pub(super) fn parse(table: Table, data: &[u8], major: PgMajor) -> Option<Self> {
        Some(match table {
            Table::Class(database) => Self::Class(database, ClassRow::parse(data, major)?),
            Table::Namespace(database) => Self::Namespace(database, NamespaceRow::parse(data)?),
            Table::Database => Self::Database(DatabaseRow::parse(data, major)?),
        })
    }

    /// Whether both are versions of the same row.
    pub(super) fn is_version_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Class(own, one), Self::Class(others, other)) => own == others && one.oid == other.oid,
            (Self::Namespace(own, one), Self::Namespace(others, other)) => own == others && one.oid == other.oid,
            (Self::Database(one), Self::Database(other)) => one.oid == other.oid,
            _ => false,
        }
    }
}

/// What a transaction did. To be told the same twice changes nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    versions: BTreeMap<(RelFileLocator, RowPlace), Version>,
}

#[derive(Clone, Debug)]
struct Version {
    row: Row,
    began: bool,
    ended: bool,
}

impl Pending {
    /// It began a version of a row.
    pub(super) fn begin(&mut self, file: RelFileLocator, place: RowPlace, row: Row) {
        // What it ended in the same place was removed meanwhile, if the place is taken again.
        let version = Version { row, began: true, ended: false };
        self.versions.entry((file, place)).or_insert(version).began = true;
    }

    /// It ended a version of a row.
    pub(super) fn end(&mut self, file: RelFileLocator, place: RowPlace, row: Row) {
        let version = Version { row, began: false, ended: false };
        self.versions.entry((file, place)).or_insert(version).ended = true;
    }

    pub(super) fn join(&mut self, other: Self) {
        for ((file, place), version) in other.versions {
            if version.began {
                self.begin(file, place, version.row.clone());
            }
            if version.ended {
                self.end(file, place, version.row);
            }
        }
    }

    /// What it comes to if the transaction commits.
    pub(super) fn outcome(self) -> Outcome {
        let mut outcome = Outcome::default();
        for Version { row, began, ended } in self.versions.into_values() {
            match (began, ended) {
                (true, false) => outcome.after.push(row),
                (false, true) => outcome.before.push(row),
                _ => outcome.between.push(row),
            }
        }
        outcome
    }
}

/// What a transaction did to rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Rows as they were before.
    pub(super) before: Vec<Row>,
    /// Rows as they are now.
    pub(super) after: Vec<Row>,
    /// What was there only in between.
    pub(super) between: Vec<Row>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: RelFileLocator = RelFileLocator { tablespace: 1663, database: 5, number: 2615 };

    fn row(oid: u32) -> Row {
        Row::Namespace(5, NamespaceRow { oid, name: format!("n{oid}").into_bytes() })
    }

    fn at(offset: u16) -> RowPlace {
        RowPlace { block: 0, offset }
    }

    #[test]
    fn what_a_transaction_made_and_removed_itself_was_there_only_in_between() {
        let mut pending = Pending::default();
        pending.end(FILE, at(1), row(10));
        pending.begin(FILE, at(2), row(10));
        pending.end(FILE, at(2), row(10));
        pending.begin(FILE, at(3), row(10));
        pending.begin(FILE, at(4), row(11));
        pending.end(FILE, at(4), row(11));
        // An image of the page tells again what is known.
        pending.begin(FILE, at(2), row(10));
        let Outcome { before, after, between } = pending.outcome();
        assert_eq!((before, after, between), (vec![row(10)], vec![row(10)], vec![row(10), row(11)]));
    }

    #[test]
    fn a_subtransaction_goes_on_where_its_parent_was() {
        let (mut parent, mut child) = (Pending::default(), Pending::default());
        parent.end(FILE, at(1), row(10));
        parent.begin(FILE, at(2), row(10));
        child.end(FILE, at(2), row(10));
        child.join(parent);
        let Outcome { before, after, between } = child.outcome();
        assert_eq!((before, after, between), (vec![row(10)], vec![], vec![row(10)]), "truncated, then dropped");
    }
}
