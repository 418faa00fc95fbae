//! What a restore leaves behind for later: what it wrote and has to go again, and how far recovery will go.
//!
//! A file in the restored directory, text, one `key=value` a line. The first line names the format and its version, the last
//! one has the CRC-32C of all before it. `recovery-progress` and `finish-restore` read it; the latter removes it when the server
//! archives again.

use std::fmt::Write as _;
use std::path::PathBuf;

use barman_storage::{Dir, Error, RelativePath};
use wal_format::{Lsn, crc32c};

use crate::plan::{PlannedConfiguration, RestorePlan};
use crate::restore::FILE_MODE;

/// The record of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RestoreRecord {
    /// Barman's name of the server that was restored.
    pub(crate) server: String,
    /// Where the WAL begins that recovery replays.
    pub(crate) start: Option<Lsn>,
    /// How far recovery goes, if the plan knew.
    pub(crate) end: Option<Lsn>,
    /// The directory for WAL that the end of recovery removes.
    pub(crate) staging: Option<PathBuf>,
    /// The file with the recovery settings, relative to the data directory.
    pub(crate) settings_file: String,
    /// These settings, line by line.
    pub(crate) settings: Vec<String>,
    /// The lines that keep included files from archiving.
    pub(crate) guard: Vec<String>,
}

/// A file that is not the record that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreRecordError {
    /// It does not begin like one that this version understands.
    #[error("it begins with {found:?}, expected {HEAD:?}")]
    Format {
        /// Its first line.
        found: String,
    },
    /// It was changed, or cut short.
    #[error("its checksum is not that of its contents")]
    Checksum,
    /// A line says nothing that is known.
    #[error("line {line} cannot be understood")]
    Line {
        /// Which, counted from one.
        line: usize,
    },
}

const HEAD: &str = "barman-rs restore 1";
const CHECKSUM: &str = "crc32c=";

impl RestoreRecord {
    /// Returns the name of the file.
    pub(crate) fn path() -> RelativePath {
        RelativePath::literal(".barman-restored")
    }

    /// Reads the record of a restored directory; `None` if it has none, as after a restore by Barman.
    pub(crate) fn read(data: &Dir) -> Result<Option<Result<Self, RestoreRecordError>>, Error> {
        /// Far more than any has: some lines of settings.
        const LIMIT: u64 = 1 << 20;
        let text = data.read(&Self::path(), LIMIT)?;
        Ok(text.map(|text| Self::parse(&String::from_utf8_lossy(&text))))
    }

    pub(crate) fn of(plan: &RestorePlan, configuration: &PlannedConfiguration) -> Self {
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        let backup = &plan.recovery.backup;
        let staged = plan.wal.as_ref().filter(|wal| !wal.is_archived);
        Self {
            server: backup.server_name.clone().unwrap_or_default(),
            start: backup.begin_xlog,
            end: plan.recovery.stop.as_ref().map(|stop| stop.replayed_to),
            staging: staged.map(|wal| wal.destination.clone()),
            settings_file: configuration.file.to_string(),
            settings: lines(&configuration.settings),
            guard: lines(&configuration.guard),
        }
    }

    /// Writes the record of a directory anew.
    pub(crate) fn write(&self, data: &Dir) -> Result<(), Error> {
        data.replace(&Self::path(), FILE_MODE, self.to_text().as_bytes())
    }

    /// Returns what is still to be known when the settings are gone; `None` if that is all that it has.
    pub(crate) fn reduced(&self) -> Option<Self> {
        let reduced = Self { staging: None, settings: Vec::new(), ..self.clone() };
        (reduced != *self).then_some(reduced)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\nserver={}\n", self.server);
        let mut add = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{key}={value}");
        };
        self.start.iter().for_each(|lsn| add("start", lsn));
        self.end.iter().for_each(|lsn| add("end", lsn));
        self.staging.iter().for_each(|path| add("staging", &path.display()));
        add("settings_file", &self.settings_file);
        self.settings.iter().for_each(|line| add("setting", line));
        self.guard.iter().for_each(|line| add("guard", line));
        let checksum = crc32c(text.as_bytes());
        text + &format!("{CHECKSUM}{checksum:08X}\n")
    }

    fn parse(text: &str) -> Result<Self, RestoreRecordError> {
        let found = text.lines().next().unwrap_or_default();
        if found != HEAD {
            return Err(RestoreRecordError::Format { found: found.to_owned() });
        }
        let (content, checksum) = text.rsplit_once(CHECKSUM).ok_or(RestoreRecordError::Checksum)?;
        if checksum.trim_end() != format!("{:08X}", crc32c(content.as_bytes())) {
            return Err(RestoreRecordError::Checksum);
        }
        let mut record = Self::default();
        for (index, line) in content.lines().enumerate().skip(1) {
            record.take(line).ok_or(RestoreRecordError::Line { line: index + 1 })?;
        }
        Ok(record)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once('=')?;
        let own = || value.to_owned();
        match key {
            "server" => self.server = own(),
            "start" => self.start = Some(value.parse().ok()?),
            "end" => self.end = Some(value.parse().ok()?),
            "staging" => self.staging = Some(PathBuf::from(value)),
            "settings_file" => self.settings_file = own(),
            "setting" => self.settings.push(own()),
            "guard" => self.guard.push(own()),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RestoreRecord {
        RestoreRecord {
            server: "main".to_owned(),
            start: Some(Lsn::new(0x200_0028)),
            end: None,
            staging: Some("/srv/r 1/barman_wal".into()),
            settings_file: "conf/own.conf".to_owned(),
            settings: vec!["restore_command = 'cp a=b'".to_owned(), "recovery_target = 'immediate'".to_owned()],
            guard: vec!["archive_command = false".to_owned()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for record in [record(), RestoreRecord::default()] {
            assert_eq!(RestoreRecord::parse(&record.to_text()), Ok(record));
        }
    }

    #[test]
    fn what_was_changed_is_refused() {
        let text = record().to_text();
        assert_eq!(RestoreRecord::parse(&text.replace("main", "mail")), Err(RestoreRecordError::Checksum));
        assert_eq!(RestoreRecord::parse(&text[..text.len() - 12]), Err(RestoreRecordError::Checksum));
        let newer = RestoreRecord::parse(&text.replace("restore 1", "restore 2"));
        assert!(matches!(newer, Err(RestoreRecordError::Format { .. })), "{newer:?}");
        let content = format!("{HEAD}\nserver=a\nunknown=1\n");
        let unknown = format!("{content}{CHECKSUM}{:08X}\n", crc32c(content.as_bytes()));
        assert_eq!(RestoreRecord::parse(&unknown), Err(RestoreRecordError::Line { line: 3 }));
    }
}
