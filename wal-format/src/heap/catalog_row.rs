//! Rows of the system catalogs that say what is called how (`catalog/pg_class.h`, `pg_namespace.h`, `pg_database.h`).
//!
//! Only columns at the beginning are read: they are never null and have the same length in each row.

use alloc::vec::Vec;

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::map;

use crate::PgMajor;
use crate::native::{byte, int32, padding};
use crate::syntax::Parsed;

/// How long a name can be, the zero at its end included (`NAMEDATALEN`).
const NAME_LEN: usize = 64;

/// A relation: a row of `pg_class`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRow {
    /// Its OID.
    pub oid: u32,
    /// Its name, in the encoding of the database.
    pub name: Vec<u8>,
    /// The OID of its schema.
    pub namespace: u32,
    /// The number of its file; 0 if it has none, or if the relation map has it.
    pub file: u32,
    /// The OID of its tablespace; 0 for the database's own.
    pub tablespace: u32,
    /// The OID of the table that long values are in; 0 for none.
    pub toast: u32,
    /// What it is: `r` a table, `i` an index, `m` a materialized view, `p` a partitioned table… (`relkind`).
    pub kind: u8,
    /// Whether all databases share it.
    pub is_shared: bool,
}

impl ClassRow {
    /// The OID of `pg_class` itself, and the number of its file as long as nobody rewrites it.
    pub const CATALOG: u32 = 1259;

    /// Reads a row's columns as servers of this version lay them out; `None` if there are too few.
    #[must_use]
    pub fn parse(data: &[u8], major: PgMajor) -> Option<Self> {
        let (_, row) = Self::columns(data, major).ok()?;
        Some(row)
    }

    fn columns(input: &[u8], major: PgMajor) -> Parsed<'_, Self> {
        /// `reltype`, `reloftype`, `relowner`, `relam`.
        const TYPE_TO_ACCESS_METHOD: usize = 16;
        let (input, (oid, name, namespace)) = (int32, name, int32).parse(input)?;
        let (input, ((), file, tablespace)) = (padding(TYPE_TO_ACCESS_METHOD), int32, int32).parse(input)?;
        let (input, ((), toast)) = (padding(major.facts().class_statistics_len), int32).parse(input)?;
        let (input, (_has_index, shared, _persistence, kind)) = (byte, byte, byte, byte).parse(input)?;
        let is_shared = shared != 0;
        Ok((input, Self { oid, name, namespace, file, tablespace, toast, kind, is_shared }))
    }
}

/// A schema: a row of `pg_namespace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRow {
    /// Its OID.
    pub oid: u32,
    /// Its name, in the encoding of the database.
    pub name: Vec<u8>,
}

impl NamespaceRow {
    /// The OID of `pg_namespace` itself.
    pub const CATALOG: u32 = 2615;

    /// Reads a row's columns; `None` if there are too few.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (_, (oid, name)) = (int32, name).parse(data).ok()?;
        Some(Self { oid, name })
    }
}

/// A database: a row of `pg_database`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseRow {
    /// Its OID.
    pub oid: u32,
    /// Its name, in the encoding of the database that it was given in.
    pub name: Vec<u8>,
    /// The OID of the tablespace in which its relations are that name none.
    pub tablespace: u32,
    /// Whether DROP DATABASE has begun: nobody can connect any more (`DATCONNLIMIT_INVALID_DB`; minor versions since 2023).
    pub is_invalid: bool,
}

impl DatabaseRow {
    /// The OID of `pg_database` itself.
    pub const CATALOG: u32 = 1262;

    /// Reads a row's columns as servers of this version lay them out; `None` if there are too few.
    #[must_use]
    pub fn parse(data: &[u8], major: PgMajor) -> Option<Self> {
        const INVALID: i32 = -2;
        let (before, behind) = major.facts().database_limit_between;
        let (data, (oid, name)) = (int32, name).parse(data).ok()?;
        let (_, ((), limit, (), tablespace)) = (padding(before), int32, padding(behind), int32).parse(data).ok()?;
        Some(Self { oid, name, tablespace, is_invalid: limit.cast_signed() == INVALID })
    }
}

/// A column of the type `name`.
fn name(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    let text = |bytes: &[u8]| bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
    map(take(NAME_LEN), text).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_are_all_there_or_none_is_read(
            data in prop::collection::vec(any::<u8>(), 0..240),
            major in prop::sample::select(&PgMajor::ALL[..]),
        ) {
            let facts = major.facts();
            let class = 4 + NAME_LEN + 4 + 16 + 8 + facts.class_statistics_len + 4 + 4;
            prop_assert_eq!(ClassRow::parse(&data, major).is_some(), data.len() >= class);
            prop_assert_eq!(NamespaceRow::parse(&data).is_some(), data.len() >= 4 + NAME_LEN);
            let (before, behind) = facts.database_limit_between;
            let database = 4 + NAME_LEN + before + 4 + behind + 4;
            prop_assert_eq!(DatabaseRow::parse(&data, major).is_some(), data.len() >= database);
        }
    }
}
