//! How the value of each kind of field is spelled.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use crate::backup_info::CopyStats;
use crate::backup_info::text::FieldError;
use crate::{BackupId, BackupTime, LocalZone, PythonLiteral, Tablespace};

/// One way of spelling values of one type.
pub(super) trait Codec {
    type Value;

    fn decode(text: &str, zone: &LocalZone) -> Result<Self::Value, FieldError>;
    fn encode(value: &Self::Value) -> String;
}

/// Free text. Line breaks become blanks: they would end the line, and with it the field.
pub(super) struct Plain;

impl Codec for Plain {
    type Value = String;

    fn decode(text: &str, _: &LocalZone) -> Result<String, FieldError> {
        Ok(text.to_owned())
    }

    fn encode(value: &String) -> String {
        value.replace(['\n', '\r'], " ")
    }
}

/// What its own type reads and prints, such as numbers, positions and segment names.
pub(super) struct Native<T>(PhantomData<T>);

impl<T: FromStr + Display + Expected> Codec for Native<T> {
    type Value = T;

    fn decode(text: &str, _: &LocalZone) -> Result<T, FieldError> {
        text.parse().map_err(|_| FieldError::new(T::EXPECTED, text))
    }

    fn encode(value: &T) -> String {
        value.to_string()
    }
}

/// What an error message says should have been there.
pub(super) trait Expected {
    const EXPECTED: &'static str;
}

macro_rules! expected {
    ($($kind:ty: $words:literal,)*) => {
        $(impl Expected for $kind {
            const EXPECTED: &'static str = $words;
        })*
    };
}

expected! {
    u32: "a number",
    u64: "a number",
    wal_format::Lsn: "a WAL position such as 0/5000000",
    wal_format::SegmentName: "a WAL segment name of 24 hexadecimal digits",
    wal_format::SystemId: "a system identifier",
    wal_format::TimelineId: "a timeline number",
    crate::BackupId: "a backup id such as 20261120T164416",
    crate::BackupMode: "a backup mode",
}

/// A moment with its offset from UTC.
pub(super) struct Moment;

impl Codec for Moment {
    type Value = BackupTime;

    fn decode(text: &str, zone: &LocalZone) -> Result<BackupTime, FieldError> {
        BackupTime::parse(text, zone).map_err(|_| FieldError::new("a time such as 2026-11-20 16:44:17+00:00", text))
    }

    fn encode(value: &BackupTime) -> String {
        value.to_string()
    }
}

/// Ids joined by commas.
pub(super) struct Ids;

impl Codec for Ids {
    type Value = Vec<BackupId>;

    fn decode(text: &str, zone: &LocalZone) -> Result<Vec<BackupId>, FieldError> {
        text.split(',').map(|id| Native::decode(id.trim(), zone)).collect()
    }

    fn encode(value: &Vec<BackupId>) -> String {
        value.iter().map(BackupId::as_str).collect::<Vec<_>>().join(",")
    }
}

/// A Python string literal. Text without quotes is taken as it stands.
pub(super) struct Quoted;

impl Codec for Quoted {
    type Value = String;

    fn decode(text: &str, zone: &LocalZone) -> Result<String, FieldError> {
        if !text.starts_with(['\'', '"']) {
            return Ok(text.to_owned());
        }
        match Literal::decode(text, zone)? {
            PythonLiteral::Str(content) => Ok(content),
            _ => Err(FieldError::new("a Python string", text)),
        }
    }

    fn encode(value: &String) -> String {
        PythonLiteral::from(value.as_str()).to_string()
    }
}

/// Any Python literal.
pub(super) struct Literal;

impl Codec for Literal {
    type Value = PythonLiteral;

    fn decode(text: &str, _: &LocalZone) -> Result<PythonLiteral, FieldError> {
        PythonLiteral::parse(text).map_err(|_| FieldError::new("a Python literal", text))
    }

    fn encode(value: &PythonLiteral) -> String {
        value.to_string()
    }
}

/// A Python dictionary of measurements.
pub(super) struct Stats;

impl Codec for Stats {
    type Value = CopyStats;

    fn decode(text: &str, zone: &LocalZone) -> Result<CopyStats, FieldError> {
        match Literal::decode(text, zone)? {
            dictionary @ PythonLiteral::Dict(_) => Ok(CopyStats(dictionary)),
            _ => Err(FieldError::new("a Python dictionary", text)),
        }
    }

    fn encode(value: &CopyStats) -> String {
        value.0.to_string()
    }
}

/// A Python list of strings.
pub(super) struct Strings;

impl Codec for Strings {
    type Value = Vec<String>;

    fn decode(text: &str, zone: &LocalZone) -> Result<Vec<String>, FieldError> {
        list(text, zone, "a Python list of strings", |item| match item {
            PythonLiteral::Str(content) => Some(content),
            _ => None,
        })
    }

    fn encode(value: &Vec<String>) -> String {
        PythonLiteral::List(value.iter().cloned().map(PythonLiteral::Str).collect()).to_string()
    }
}

/// A Python list of tuples: name, object identifier, location.
pub(super) struct Tablespaces;

impl Codec for Tablespaces {
    type Value = Vec<Tablespace>;

    fn decode(text: &str, zone: &LocalZone) -> Result<Vec<Tablespace>, FieldError> {
        list(text, zone, "a Python list of (name, oid, location)", tablespace)
    }

    fn encode(value: &Vec<Tablespace>) -> String {
        let tuple = |tablespace: &Tablespace| {
            PythonLiteral::Tuple(vec![
                PythonLiteral::Str(tablespace.name.clone()),
                PythonLiteral::Int(tablespace.oid.into()),
                PythonLiteral::Str(tablespace.location.clone()),
            ])
        };
        PythonLiteral::List(value.iter().map(tuple).collect()).to_string()
    }
}

fn tablespace(item: PythonLiteral) -> Option<Tablespace> {
    let (PythonLiteral::Tuple(parts) | PythonLiteral::List(parts)) = item else { return None };
    let [PythonLiteral::Str(name), PythonLiteral::Int(oid), PythonLiteral::Str(location)] = parts.as_slice() else {
        return None;
    };
    Some(Tablespace { name: name.clone(), oid: u32::try_from(*oid).ok()?, location: location.clone() })
}

fn list<T>(
    text: &str,
    zone: &LocalZone,
    expected: &'static str,
    item: impl FnMut(PythonLiteral) -> Option<T>,
) -> Result<Vec<T>, FieldError> {
    let mismatch = || FieldError::new(expected, text);
    match Literal::decode(text, zone)? {
        PythonLiteral::List(items) => items.into_iter().map(item).collect::<Option<_>>().ok_or_else(mismatch),
        _ => Err(mismatch()),
    }
}
