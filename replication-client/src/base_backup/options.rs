//! [`BaseBackupOptions`] and the command they make.

use wal_format::ChecksumAlgorithm;

use super::compression::ServerCompression;
use super::decoder::Decoder;
use crate::command;
use crate::error::ErrorKind;
use crate::server_version;

/// What to ask of `BASE_BACKUP`.
///
/// ```
/// use replication_client::BaseBackupOptions;
///
/// let mut options = BaseBackupOptions::new("nightly");
/// options.fast_checkpoint = true;
/// options.max_rate_kb = Some(10_240);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaseBackupOptions {
    /// The label, which is written to `backup_label`.
    pub label: String,
    /// Whether the server checkpoints at once instead of spreading the writes (`CHECKPOINT 'fast'`).
    pub fast_checkpoint: bool,
    /// The most that the server sends per second, in KiB: 32 to 1,048,576.
    pub max_rate_kb: Option<u32>,
    /// Whether the server makes a backup manifest.
    pub manifest: bool,
    /// The checksums of files in the manifest.
    pub manifest_checksums: ChecksumAlgorithm,
    /// Whether the server estimates sizes first, which walks its data directory once more.
    pub progress: bool,
    /// Whether the server waits, before the backup ends, until its WAL is archived.
    ///
    /// True is the server's default, and what `pg_basebackup --wal-method=none` asks for; where WAL is streamed or
    /// included, pg_basebackup turns it off. A server without archiving does not wait either way; one whose
    /// `archive_command` fails waits forever, and says so in notices.
    pub wait_for_archive: bool,
    /// Whether the data directory's archive holds the WAL that the backup needs.
    pub include_wal: bool,
    /// Whether the data directory's archive describes tablespaces in a file `tablespace_map` (true) or holds a
    /// symbolic link for each, in `pg_tblspc` (false).
    ///
    /// With the file, a server that starts from the backup makes the links itself, to the places of the original
    /// server, and replaces links that stand there: whoever moves a tablespace must rewrite the file. pg_basebackup
    /// asks for the file for tar files that it keeps, and for links where it writes plain files. The locations are in
    /// [`BackupStart`](crate::BackupStart) either way.
    pub tablespace_map: bool,
    /// Whether the server checks data page checksums while it reads.
    pub verify_checksums: bool,
    /// What the server compresses the archives with before it sends them (PostgreSQL 15 and newer).
    pub compression: Option<ServerCompression>,
    /// Whether archives that the server compresses are decompressed here, and checked to be complete. Otherwise they come
    /// as they were sent.
    #[cfg(feature = "decompress")]
    pub decompress: bool,
    /// Where the archives go.
    pub target: BackupTarget,
    /// Whether only what has changed since an earlier backup is sent, whose manifest the session has uploaded before
    /// ([`Client::upload_manifest`](crate::Client::upload_manifest); PostgreSQL 17 and newer, with `summarize_wal`).
    pub incremental: bool,
}

/// Where the archives of a base backup go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackupTarget {
    /// To this client.
    #[default]
    Client,
    /// Into a directory on the server, which must not exist or be empty. It takes `pg_write_server_files`, and
    /// PostgreSQL 15. No data and no manifest is received; archives and progress are announced as ever.
    Server {
        /// The absolute path of the directory.
        path: String,
    },
    /// Nowhere (PostgreSQL 15 and newer): to try how fast a server reads.
    Blackhole,
}

impl BackupTarget {
    /// Returns the option of `BASE_BACKUP`. Even the client is named: a target is what makes a server send one COPY.
    fn option(&self) -> String {
        match self {
            Self::Client => "TARGET 'client'".to_owned(),
            Self::Server { path } => format!("TARGET 'server', TARGET_DETAIL {}", command::literal(path)),
            Self::Blackhole => "TARGET 'blackhole'".to_owned(),
        }
    }
}

impl BaseBackupOptions {
    /// Returns what pg_basebackup asks for with `--format=plain --wal-method=none --progress`.
    #[must_use]
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            fast_checkpoint: false,
            max_rate_kb: None,
            manifest: true,
            manifest_checksums: ChecksumAlgorithm::Crc32c,
            progress: true,
            wait_for_archive: true,
            include_wal: false,
            tablespace_map: false,
            verify_checksums: true,
            compression: None,
            #[cfg(feature = "decompress")]
            decompress: false,
            target: BackupTarget::Client,
            incremental: false,
        }
    }
}

impl BaseBackupOptions {
    /// Returns the command in the words of a server of this version (a `server_version_num`).
    ///
    /// # Errors
    /// The server is too old for something that is asked of it.
    pub(crate) fn command(&self, version: u32) -> Result<String, ErrorKind> {
        let needs = self.needs();
        if version < needs {
            return Err(ErrorKind::ServerVersion { needs, found: version });
        }
        Ok(self.words(version))
    }

    /// Returns the decoder of an archive, where it is to be decompressed.
    #[cfg(feature = "decompress")]
    pub(super) fn decoder(&self) -> Option<Decoder> {
        // Elsewhere than here, nothing comes that could be decompressed.
        let is_wanted = self.decompress && self.target == BackupTarget::Client;
        self.compression.filter(|_| is_wanted).map(Decoder::new)
    }

    #[cfg(not(feature = "decompress"))]
    pub(super) fn decoder(&self) -> Option<Decoder> {
        None
    }

    /// The oldest version that can do all that is asked for.
    fn needs(&self) -> u32 {
        if self.incremental {
            server_version::V17
        } else if self.compression.is_some() || self.target != BackupTarget::Client {
            server_version::V15
        } else {
            0
        }
    }

    fn words(&self, version: u32) -> String {
        let is_new = version >= server_version::V15;
        let either = |new: &str, old: &str| if is_new { new.to_owned() } else { old.to_owned() };
        let options = [
            Some(format!("LABEL {}", command::literal(&self.label))),
            is_new.then(|| self.target.option()),
            self.compression.map(|compression| compression.options()),
            self.incremental.then(|| "INCREMENTAL".to_owned()),
            self.fast_checkpoint.then(|| either("CHECKPOINT 'fast'", "FAST")),
            self.max_rate_kb.map(|rate| format!("MAX_RATE {rate}")),
            self.progress.then(|| "PROGRESS".to_owned()),
            self.include_wal.then(|| "WAL".to_owned()),
            (!self.wait_for_archive).then(|| either("WAIT 0", "NOWAIT")),
            self.tablespace_map.then(|| "TABLESPACE_MAP".to_owned()),
            (!self.verify_checksums).then(|| either("VERIFY_CHECKSUMS 0", "NOVERIFY_CHECKSUMS")),
            self.manifest.then(|| "MANIFEST 'yes'".to_owned()),
            self.manifest.then(|| format!("MANIFEST_CHECKSUMS '{}'", self.manifest_checksums)),
        ];
        let options: Vec<String> = options.into_iter().flatten().collect();
        if is_new {
            format!("BASE_BACKUP ({})", options.join(", "))
        } else {
            format!("BASE_BACKUP {}", options.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> BaseBackupOptions {
        BaseBackupOptions {
            label: "it's".into(),
            fast_checkpoint: true,
            max_rate_kb: Some(64),
            manifest: true,
            manifest_checksums: ChecksumAlgorithm::Crc32c,
            progress: true,
            wait_for_archive: false,
            include_wal: true,
            tablespace_map: true,
            verify_checksums: false,
            ..BaseBackupOptions::new("")
        }
    }

    #[test]
    fn new_servers_take_options_in_parentheses() {
        let expected = "BASE_BACKUP (LABEL 'it''s', TARGET 'client', CHECKPOINT 'fast', MAX_RATE 64, PROGRESS, WAL, \
                        WAIT 0, TABLESPACE_MAP, VERIFY_CHECKSUMS 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C')";
        assert_eq!(all().command(150_000).unwrap(), expected);
    }

    #[test]
    fn old_servers_take_words() {
        let expected = "BASE_BACKUP LABEL 'it''s' FAST MAX_RATE 64 PROGRESS WAL NOWAIT TABLESPACE_MAP \
                        NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'";
        assert_eq!(all().command(140_009).unwrap(), expected);
    }

    #[test]
    fn the_servers_defaults_need_no_words() {
        let mut options = BaseBackupOptions::new("");
        (options.manifest, options.progress) = (false, false);
        assert_eq!(options.command(130_000).unwrap(), "BASE_BACKUP LABEL ''");
        assert_eq!(options.command(180_000).unwrap(), "BASE_BACKUP (LABEL '', TARGET 'client')");
    }

    #[test]
    fn what_newer_servers_can_do_is_refused_for_older_ones() {
        let plain = || BaseBackupOptions { manifest: false, progress: false, ..BaseBackupOptions::new("") };
        let compressed = BaseBackupOptions { compression: Some(ServerCompression::Gzip { level: Some(1) }), ..plain() };
        let elsewhere = BaseBackupOptions { target: BackupTarget::Server { path: "/it's".into() }, ..plain() };
        let nowhere = BaseBackupOptions { target: BackupTarget::Blackhole, ..plain() };
        let incremental = BaseBackupOptions { incremental: true, ..plain() };
        for (options, needs, expected) in [
            (compressed, 150_000, "TARGET 'client', COMPRESSION 'gzip', COMPRESSION_DETAIL 'level=1'"),
            (elsewhere, 150_000, "TARGET 'server', TARGET_DETAIL '/it''s'"),
            (nowhere, 150_000, "TARGET 'blackhole'"),
            (incremental, 170_000, "TARGET 'client', INCREMENTAL"),
        ] {
            assert_eq!(options.command(needs).unwrap(), format!("BASE_BACKUP (LABEL '', {expected})"));
            let found = needs - 1;
            let refused = options.command(found).unwrap_err();
            assert!(
                matches!(refused, ErrorKind::ServerVersion { needs: n, found: f } if (n, f) == (needs, found)),
                "{refused}"
            );
        }
    }
}
