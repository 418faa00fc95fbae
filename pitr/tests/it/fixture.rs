//! A catalog with backups and WAL made by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barman_catalog::{BackupInfo, BackupMode, BackupTime, Catalog, LocalZone, ServerLayout, Status, Tablespace};
use barman_pitr::{
    BackupChoice, Host, PlanError, RecoveryTarget, RestoreError, RestoreOptions, RestorePlan, RestoreReport,
    RestoreRequest, StopPoint, WalSupply,
};
use barman_storage::{Cancel, RelativePath};
use tempfile::TempDir;
use wal_format::{ChecksumAlgorithm, Hasher, Lsn, SegmentNumber, SegmentSize, TimelineId};

/// The smallest that PostgreSQL has, so that tests write little.
pub(crate) const SIZE_BYTES: u64 = 1 << 20;

pub(crate) const BACKUP: &str = "20261120T164417";

/// Object identifier of the tablespace that some backups have.
pub(crate) const TABLESPACE: u32 = 16386;

pub(crate) fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).expect("not zero")
}

/// Where databases are restored, apart from the home.
const TARGET: &str = "target";

/// The start of a segment.
pub(crate) fn segment_start(number: u64) -> Lsn {
    Lsn::new(number * SIZE_BYTES)
}

/// A Barman home with one server.
pub(crate) struct Fixture {
    root: TempDir,
    pub(crate) catalog: Catalog,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let catalog = Catalog::open(ServerLayout::below(&root.path().join("home"), "main"), LocalZone::UTC);
        catalog.create_directories().expect("directories");
        std::fs::create_dir(root.path().join(TARGET)).expect("directory");
        Self { root, catalog }
    }

    /// A home with one backup, which needs segments 4 and 5 of timeline 1, and WAL up to segment 7.
    pub(crate) fn with_backup() -> Self {
        let fixture = Self::new();
        fixture.add_backup(BACKUP, |_| {});
        fixture.add_wal(1, 4..=7);
        fixture
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Adds a plain backup of timeline 1 that needs segments 4 and 5, after `change` to its record.
    pub(crate) fn add_backup(&self, id: &str, change: impl FnOnce(&mut BackupInfo)) {
        let mut info = BackupInfo::new(id.parse().expect("an id"), "main");
        let size = SegmentSize::new(SIZE_BYTES).expect("a segment size");
        info.status = Status::Done;
        info.mode = Some(BackupMode::Postgres);
        info.version = Some(150_018);
        info.timeline = Some(timeline(1));
        info.xlog_segment_size = size;
        info.begin_wal = Some(SegmentNumber::new(4).name(timeline(1), size));
        info.begin_xlog = Some(Lsn::new(4 * SIZE_BYTES + 40));
        info.end_wal = Some(SegmentNumber::new(5).name(timeline(1), size));
        info.end_xlog = Some(segment_start(6));
        info.end_time = BackupTime::parse("2026-11-20 16:44:19.462603+00:00", &LocalZone::UTC).ok();
        info.systemid = "7710327062147215790".parse().ok();
        change(&mut info);
        self.write_data(&info);
        self.catalog.save(&info).expect("a record");
    }

    /// Gives every backup that has the tablespace in its record a directory for it.
    fn write_data(&self, info: &BackupInfo) {
        let data = self.data_of(&info.backup_id.to_string());
        let mut manifest = BTreeMap::new();
        for (path, contents) in FILES {
            write_file(&data.join(path), contents.as_bytes());
            manifest.insert((*path).to_owned(), contents.as_bytes().to_vec());
        }
        for directory in ["pg_wal/archive_status", "pg_tblspc", "log", "pg_notify"] {
            std::fs::create_dir_all(data.join(directory)).expect("directory");
        }
        for tablespace in info.tablespaces.iter().flatten() {
            let directory = data.with_file_name(tablespace.oid.to_string());
            let path = "PG_15_202209061/5/16390";
            write_file(&directory.join(path), b"a table elsewhere");
            manifest.insert(format!("pg_tblspc/{}/{path}", tablespace.oid), b"a table elsewhere".to_vec());
            symlink(&directory, data.join("pg_tblspc").join(tablespace.oid.to_string())).expect("link");
        }
        write_file(&data.join("backup_manifest"), manifest_text(&manifest).as_bytes());
    }

    /// Returns the data directory of a backup.
    pub(crate) fn data_of(&self, id: &str) -> PathBuf {
        self.catalog.layout().basebackups_directory.join(id).join("data")
    }

    /// Removes an archived segment of timeline 1, which stays in the index.
    pub(crate) fn lose_wal(&self, number: u64) {
        let size = SegmentSize::new(SIZE_BYTES).expect("a segment size");
        let name = SegmentNumber::new(number).name(timeline(1), size);
        let directory = self.catalog.layout().wals_directory.join(name.hash_directory());
        std::fs::remove_file(directory.join(name.to_string())).expect("file");
    }

    /// Archives segments.
    pub(crate) fn add_wal(&self, on: u32, numbers: impl IntoIterator<Item = u64>) {
        let size = SegmentSize::new(SIZE_BYTES).expect("a segment size");
        for number in numbers {
            let name = SegmentNumber::new(number).name(timeline(on), size);
            let directory = self.catalog.layout().wals_directory.join(name.hash_directory());
            write_file(&directory.join(name.to_string()), &crate::wal::segment(on, number));
        }
        self.forget_index();
    }

    /// Puts a file into the archive as it is.
    pub(crate) fn add_archived(&self, path: &str, contents: &[u8]) {
        write_file(&self.catalog.layout().wals_directory.join(path), contents);
        self.forget_index();
    }

    /// Lets the next reader rebuild the index from what is there.
    fn forget_index(&self) {
        let _ = std::fs::remove_file(self.catalog.layout().xlogdb_directory.join("main-xlog.db"));
    }

    /// Returns the directory in which databases are restored.
    pub(crate) fn target(&self) -> PathBuf {
        self.root().join(TARGET)
    }

    pub(crate) fn destination(&self) -> PathBuf {
        self.target().join("restored")
    }

    /// A plain restore of the backup, which tests change.
    pub(crate) fn request(&self) -> RestoreRequest {
        RestoreRequest {
            backup: BackupChoice::Id(BACKUP.parse().expect("an id")),
            host: Host::Here,
            destination: self.destination(),
            delta: false,
            target: RecoveryTarget::default(),
            standby_mode: false,
            wal: WalSupply::Copy { staging: None, partial: false },
            relocations: Vec::new(),
            recovery_conf_file: RelativePath::literal(RestoreRequest::RECOVERY_CONF_FILE),
            scratch: None,
        }
    }

    /// A restore to a point.
    pub(crate) fn request_to(&self, stop: StopPoint) -> RestoreRequest {
        RestoreRequest { target: RecoveryTarget { stop: Some(stop), ..RecoveryTarget::default() }, ..self.request() }
    }

    pub(crate) fn plan(&self, request: &RestoreRequest) -> Result<RestorePlan, PlanError> {
        barman_pitr::plan(&self.catalog, request)
    }

    pub(crate) fn restore(&self, plan: &RestorePlan) -> Result<RestoreReport, RestoreError> {
        barman_pitr::restore(&self.catalog, plan, &options(), &|_| {})
    }

    /// Plans and carries out.
    pub(crate) fn restored(&self, request: &RestoreRequest) -> RestoreReport {
        let plan = self.plan(request).expect("a plan");
        self.restore(&plan).expect("a restore")
    }
}

pub(crate) fn options() -> RestoreOptions {
    RestoreOptions {
        jobs: NonZeroUsize::new(2).expect("not zero"),
        cancel: Cancel::new(),
        bytes_per_second: None,
        tablespace_bytes_per_second: BTreeMap::new(),
        retries: 0,
        retry_pause: Duration::ZERO,
    }
}

/// What a small data directory has.
const FILES: &[(&str, &str)] = &[
    ("PG_VERSION", "15\n"),
    ("backup_label", "START WAL LOCATION: 0/400028 (file 000000010000000000000004)\n"),
    ("base/5/16384", "a table"),
    ("base/5/16385", ""),
    ("global/1262", "databases"),
    ("global/pg_control", "the control file"),
    ("log/postgresql.log", "yesterday's log"),
    ("pg_hba.conf", "local all all peer\n"),
    ("postgresql.conf", "port = 5432\narchive_command = 'cp %p /srv/archive/%f'\nssl_cert_file = '/etc/x'\n"),
    ("postgresql.auto.conf", "# Do not edit this file manually!\n"),
    ("standby.signal", ""),
    ("tablespace_map", "16386 /srv/tbs1\n"),
];

/// A tablespace for a record.
pub(crate) fn tablespace(location: &Path) -> Tablespace {
    Tablespace { name: "tbs1".to_owned(), oid: TABLESPACE, location: location.display().to_string() }
}

/// The contents of a segment of timeline 1.
pub(crate) fn segment_bytes(number: u64) -> Vec<u8> {
    crate::wal::segment(1, number)
}

/// A manifest as PostgreSQL writes it.
pub(crate) fn manifest_text(files: &BTreeMap<String, Vec<u8>>) -> String {
    let line = |(path, contents): (&String, &Vec<u8>)| {
        let checksum = hex(ChecksumAlgorithm::Crc32c, contents);
        format!(
            r#"{{ "Path": "{path}", "Size": {}, "Last-Modified": "2026-11-20 16:44:17 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "{checksum}" }}"#,
            contents.len()
        )
    };
    let lines: Vec<_> = files.iter().map(line).collect();
    let mut text = format!(
        "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{}\n],\n\"WAL-Ranges\": [\n{}\n],\n",
        lines.join(",\n"),
        r#"{ "Timeline": 1, "Start-LSN": "0/400028", "End-LSN": "0/600000" }"#
    );
    let checksum = hex(ChecksumAlgorithm::Sha256, text.as_bytes());
    writeln!(text, "\"Manifest-Checksum\": \"{checksum}\"}}").expect("a string");
    text
}

fn hex(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().expect("an algorithm").to_string()
}

pub(crate) fn write_file(path: &Path, contents: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
    std::fs::write(path, contents).expect("file");
}

/// Returns every file, link and empty directory below a directory, as text: the path, and what is there.
pub(crate) fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    visit(directory, directory, &mut found);
    found.sort();
    found
}

fn visit(top: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("directory") {
        let path = entry.expect("entry").path();
        let relative = path.strip_prefix(top).expect("below").display().to_string();
        if path.is_symlink() {
            found.push(format!("{relative} -> {}", path.read_link().expect("link").display()));
        } else if path.is_dir() {
            let before = found.len();
            visit(top, &path, found);
            if found.len() == before {
                found.push(format!("{relative}/"));
            }
        } else {
            found.push(relative);
        }
    }
}
