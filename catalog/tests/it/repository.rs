//! A repository for one test, and WAL to put into it.

use std::path::{Path, PathBuf};

use barman_catalog::{
    BackupId, BackupInfo, BackupMode, Catalog, Error, Facts, IngestEvent, IngestOptions, IngestSummary, LocalZone,
    NoHooks, ServerLayout, Status, WalSource,
};
use barman_storage::Cancel;
use wal_format::testing::WalBuilder;
use wal_format::{SegmentName, SegmentSize, SystemId, Timestamp, WalLayout};

/// The smallest segments there are: tests write many.
pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;

/// The cluster that the tests' WAL is of.
pub(crate) const SYSTEM: SystemId = SystemId::new(7_710_294_594_766_418_489);

/// A repository of the server `main` that vanishes when dropped.
#[derive(Debug)]
pub(crate) struct Repository {
    _root: Option<tempfile::TempDir>,
    pub(crate) home: PathBuf,
    pub(crate) catalog: Catalog,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let mut repository = Self::at(root.path());
        repository.catalog.create_directories().expect("directories");
        repository._root = Some(root);
        repository
    }

    /// The one that is in `home` already.
    pub(crate) fn at(home: &Path) -> Self {
        let catalog = Catalog::open(ServerLayout::below(home, "main"), LocalZone::UTC);
        Self { _root: None, home: home.to_owned(), catalog }
    }

    /// A path below the server's directory.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.home.join("main").join(path)
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("below main")).expect("directory");
        std::fs::write(path, bytes).expect("write");
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        let path = self.path(path);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).expect("UTF-8")
    }

    /// Names in a directory, hidden ones included, in order.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).expect("list");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    pub(crate) fn ingest(&self, source: WalSource) -> Result<IngestSummary, Error> {
        self.ingest_with(source, &mut |_| {})
    }

    pub(crate) fn ingest_with(
        &self,
        source: WalSource,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<IngestSummary, Error> {
        let cancel = Cancel::new();
        self.catalog.ingest(source, &options(&cancel), events)
    }

    /// What the ledger knows of an archived file.
    pub(crate) fn facts(&self, name: &str) -> Facts {
        self.catalog.facts(&name.parse().expect("a name")).expect("readable").expect("known")
    }

    /// Names in the index, in order.
    pub(crate) fn recorded(&self) -> Vec<String> {
        let entries = self.catalog.xlog_db().and_then(|db| db.entries()).expect("index");
        entries.iter().map(|entry| entry.name.to_string()).collect()
    }

    /// Names in the archive, in order.
    pub(crate) fn archived(&self) -> Vec<String> {
        let mut names = Vec::new();
        for name in self.names("wals") {
            if self.path("wals").join(&name).is_dir() {
                names.extend(self.names(&format!("wals/{name}")));
            } else if name.ends_with(".history") {
                names.push(name);
            }
        }
        names.sort();
        names
    }

    /// Saves a complete backup that needs these segments.
    pub(crate) fn backup(&self, id: &str, begin: &str, end: &str, status: Status) -> BackupInfo {
        let info = backup(id, begin, end, status);
        self.catalog.save(&info).expect("save");
        info
    }
}

pub(crate) fn id(text: &str) -> BackupId {
    text.parse().expect("an id")
}

pub(crate) fn backup(id_text: &str, begin: &str, end: &str, status: Status) -> BackupInfo {
    let mut info = BackupInfo::new(id(id_text), "main");
    info.status = status;
    info.mode = Some(BackupMode::Postgres);
    info.begin_wal = begin.parse().ok();
    info.end_wal = end.parse().ok();
    info.timeline = info.begin_wal.map(|name| name.timeline);
    info.xlog_segment_size = segment_size();
    info.systemid = Some(SYSTEM);
    info
}

pub(crate) fn segment_size() -> SegmentSize {
    SegmentSize::new(SEGMENT_BYTES).expect("a power of two")
}

/// Options of a run some hours after every file was written.
pub(crate) fn options(cancel: &Cancel) -> IngestOptions<'_> {
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(7200);
    let since = later.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let now = Timestamp::from_unix_micros(i64::try_from(since.as_micros()).expect("before the year 294247"));
    IngestOptions { batch_size: None, system_id: None, now, hooks: &NoHooks, cancel }
}

/// A segment of this name, whose contents `salt` decides. Each follows each other one: all end with a record of 64 bytes.
pub(crate) fn segment(name: &str, salt: u8) -> Vec<u8> {
    segment_of(SYSTEM, name, salt)
}

pub(crate) fn segment_of(system: SystemId, name: &str, salt: u8) -> Vec<u8> {
    let name: SegmentName = name.parse().expect("a segment's name");
    let layout = WalLayout { system_id: system, ..WalBuilder::layout(segment_size(), 8192) };
    let mut wal = WalBuilder::at(layout, name.number(segment_size()).expect("a possible name"));
    wal.set_timeline(name.timeline);
    wal.message(100 + 8 * usize::from(salt));
    wal.cross_with_head(64, 0);
    wal.bytes().to_vec()
}

/// The name of segment `number` of timeline 1.
pub(crate) fn name(number: u64) -> String {
    let number = wal_format::SegmentNumber::new(number);
    number.name(wal_format::TimelineId::FIRST, segment_size()).to_string()
}
