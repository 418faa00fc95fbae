//! The text form of `backup.info`: one `key=value` per line, sorted by key.

use wal_format::SegmentSize;

use super::codec::{Codec, Ids, Literal, Moment, Native, Plain, Quoted, Stats, Strings, Tablespaces};
use crate::{BackupId, BackupInfo, LocalZone};

/// Text that is not a `backup.info`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupInfoError {
    /// A line without `=`.
    #[error("line {line} is not of the form key=value")]
    NoKey {
        /// Its number, from 1.
        line: usize,
    },
    /// A known key with a value it cannot have.
    #[error("invalid value of {key} in line {line}")]
    Field {
        /// The key.
        key: String,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with the value.
        #[source]
        source: FieldError,
    },
}

/// A value that its field cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct FieldError {
    /// What should have been there.
    pub expected: &'static str,
    /// The beginning of what was there.
    pub found: String,
}

impl FieldError {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        const LONGEST: usize = 60;
        Self { expected, found: found.chars().take(LONGEST).collect() }
    }
}

/// The fields that may be `None`, each with the way its value is spelled.
macro_rules! nullable_fields {
    ($($key:ident: $codec:ty,)*) => {
        /// Sets the field of this key; tells whether there is one.
        fn set(info: &mut BackupInfo, key: &str, text: Option<&str>, zone: &LocalZone) -> Result<bool, FieldError> {
            match key {
                $(stringify!($key) => info.$key = text.map(|text| <$codec>::decode(text, zone)).transpose()?,)*
                _ => return Ok(false),
            }
            Ok(true)
        }

        fn nullable(info: &BackupInfo) -> Vec<(&str, Option<String>)> {
            vec![$((stringify!($key), info.$key.as_ref().map(<$codec>::encode))),*]
        }
    };
}

nullable_fields! {
    backup_label: Quoted,
    backup_name: Plain,
    begin_offset: Native<u64>,
    begin_time: Moment,
    begin_wal: Native<wal_format::SegmentName>,
    begin_xlog: Native<wal_format::Lsn>,
    cluster_size: Native<u64>,
    compression: Plain,
    config_file: Plain,
    copy_stats: Stats,
    data_checksums: Plain,
    deduplicated_size: Native<u64>,
    encryption: Plain,
    end_offset: Native<u64>,
    end_time: Moment,
    end_wal: Native<wal_format::SegmentName>,
    end_xlog: Native<wal_format::Lsn>,
    error: Plain,
    hba_file: Plain,
    ident_file: Plain,
    included_files: Strings,
    mode: Native<crate::BackupMode>,
    parent_backup_id: Native<BackupId>,
    pgdata: Plain,
    server_name: Plain,
    size: Native<u64>,
    snapshots_info: Literal,
    summarize_wal: Plain,
    systemid: Native<wal_format::SystemId>,
    tablespaces: Tablespaces,
    timeline: Native<wal_format::TimelineId>,
    version: Native<u32>,
}

/// Keys that are left out, rather than set to `None`, so that Barman versions which do not know them read the file.
const OMITTED_WHEN_NONE: [&str; 2] = ["backup_name", "snapshots_info"];

impl BackupInfo {
    /// Parses the record of backup `backup_id`. A time without a zone is that of `zone`.
    ///
    /// Blank lines and comments are skipped, the last of several lines for one key counts, and a key that is missing has
    /// the value it had before Barman introduced it. Keys that are not known are kept in [`unknown`](Self::unknown).
    ///
    /// # Errors
    /// A line has no `=`, or a known key has a value that it cannot have.
    pub fn parse(backup_id: BackupId, text: &str, zone: &LocalZone) -> Result<Self, BackupInfoError> {
        let mut info = Self::blank(backup_id);
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(BackupInfoError::NoKey { line: index + 1 })?;
            let key = key.trim_end();
            info.set(key, value.trim_start(), zone).map_err(|source| BackupInfoError::Field {
                key: key.to_owned(),
                line: index + 1,
                source,
            })?;
        }
        Ok(info)
    }

    fn set(&mut self, key: &str, text: &str, zone: &LocalZone) -> Result<(), FieldError> {
        let value = (text != "None").then_some(text);
        match (key, value) {
            ("status", _) => self.status = text.parse()?,
            ("xlog_segment_size", _) => {
                self.xlog_segment_size = value.map_or(Ok(SegmentSize::DEFAULT), segment_size)?;
            }
            ("children_backup_ids", _) => {
                self.children_backup_ids = value.map_or(Ok(Vec::new()), |text| Ids::decode(text, zone))?;
            }
            _ if set(self, key, value, zone)? => {}
            _ => {
                self.unknown.insert(key.to_owned(), text.to_owned());
            }
        }
        Ok(())
    }

    /// Returns the text that Barman would write for this record, with a line for every field.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = nullable(self);
        lines.retain(|(key, value)| value.is_some() || !OMITTED_WHEN_NONE.contains(key));
        let children = (!self.children_backup_ids.is_empty()).then(|| Ids::encode(&self.children_backup_ids));
        lines.push(("children_backup_ids", children));
        lines.push(("status", Some(self.status.to_string())));
        lines.push(("xlog_segment_size", Some(self.xlog_segment_size.bytes().to_string())));
        lines.extend(self.unknown.iter().map(|(key, value)| (key.as_str(), Some(value.clone()))));
        lines.sort_by_key(|(key, _)| *key);
        let none = || "None".to_owned();
        lines.into_iter().map(|(key, value)| format!("{key}={}\n", value.unwrap_or_else(none))).collect()
    }
}

fn segment_size(text: &str) -> Result<SegmentSize, FieldError> {
    let size = text.parse().ok().and_then(SegmentSize::new);
    size.ok_or_else(|| FieldError::new("a power of two from 1048576 to 1073741824", text))
}
