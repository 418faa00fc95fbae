//! Records about databases, tablespaces and relation maps (`commands/dbcommands_xlog.h`, `commands/tablespace.h`,
//! `utils/relmapper.h`).

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::map;

use super::Payload;
use super::list::{List, c_string};
use crate::native::int32;
use crate::record::Record;
use crate::syntax::{Parsed, SyntaxError, expect};

pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const COPY: u8 = 0x00;
    const CREATE: u8 = 0x10;
    const DROP: u8 = 0x20;
    const DROP_BEFORE_15: u8 = 0x10;
    match (record.header.kind(), record.major.facts().creates_databases_by_wal) {
        (COPY, _) => record.parse_main(DatabaseCopy::parse, Payload::DatabaseCopy),
        (CREATE, true) => record.parse_main(DatabaseDirectory::parse, Payload::DatabaseCreate),
        (DROP, true) | (DROP_BEFORE_15, false) => record.parse_main(DatabaseDrop::parse, Payload::DatabaseDrop),
        _ => Ok(Payload::Other),
    }
}

/// Where a database has files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DatabaseDirectory {
    /// The OID of the database.
    pub database: u32,
    /// The OID of the tablespace.
    pub tablespace: u32,
}

impl DatabaseDirectory {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let fields = expect("a database and a tablespace", (int32, int32));
        map(fields, |(database, tablespace)| Self { database, tablespace }).parse(input)
    }
}

/// A directory of a new database was copied from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DatabaseCopy {
    /// The new one.
    pub to: DatabaseDirectory,
    /// The one that was copied.
    pub from: DatabaseDirectory,
}

impl DatabaseCopy {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        map((DatabaseDirectory::parse, DatabaseDirectory::parse), |(to, from)| Self { to, from }).parse(input)
    }
}

/// A database was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DatabaseDrop<'a> {
    /// Its OID.
    pub database: u32,
    /// The tablespaces that it had files in.
    pub tablespaces: List<'a, u32>,
}

impl<'a> DatabaseDrop<'a> {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        let fields = (expect("a database", int32), List::parse_counted);
        map(fields, |(database, tablespaces)| Self { database, tablespaces }).parse(input)
    }
}

pub(super) fn decode_tablespace<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const CREATE: u8 = 0x00;
    const DROP: u8 = 0x10;
    let tablespace = expect("a tablespace", int32);
    match record.header.kind() {
        CREATE => record
            .parse_main((tablespace, c_string), |(tablespace, path)| Payload::TablespaceCreate { tablespace, path }),
        DROP => record.parse_main(tablespace, |tablespace| Payload::TablespaceDrop { tablespace }),
        _ => Ok(Payload::Other),
    }
}

/// A relation map was written: which files the catalogs that cannot be looked up in themselves are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RelationMapUpdate<'a> {
    /// Whose map; a database of 0 stands for the one that all share.
    pub directory: DatabaseDirectory,
    /// What `pg_filenode.map` holds from now on.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::hexadecimal"))]
    pub map: &'a [u8],
}

pub(super) fn decode_relation_map<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const UPDATE: u8 = 0x00;
    match record.header.kind() {
        UPDATE => record.parse_main(RelationMapUpdate::parse, Payload::RelationMapUpdate),
        _ => Ok(Payload::Other),
    }
}

impl<'a> RelationMapUpdate<'a> {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, directory) = DatabaseDirectory::parse(input)?;
        let (input, len) = expect("the length of a relation map", int32).parse(input)?;
        let (input, map) = expect("a relation map", take(len)).parse(input)?;
        Ok((input, Self { directory, map }))
    }
}
