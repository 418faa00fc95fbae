//! Barman 3.19.1 as the judge: it reads what we write, and we read what it writes.

use barman_catalog::WalStorage;
use barman_catalog::{
    BackupInfo, BackupTime, Catalog, CopyStats, Identity, LocalZone, Lock, ServerLayout, Status, Tablespace, WalSource,
};
use barman_storage::codec::Algorithm;
use test_support::{Barman, BarmanHome};
use wal_format::{Lsn, Timestamp};

use crate::compression::storing;
use crate::repository::{Repository, SYSTEM, backup, name, segment};

const BACKUP: &str = "20260101T000000";
const LATER: &str = "20260102T000000";

/// A home with the server `main`, which Barman and we use in turns. Nothing answers at the server's address.
struct Home {
    barman: Barman,
    home: BarmanHome,
    ours: Repository,
}

impl Home {
    fn new(options: &[(&str, &str)]) -> Self {
        let home = BarmanHome::new();
        let nowhere = "host=127.0.0.1 port=1 user=nobody dbname=postgres";
        let common = [
            ("conninfo", nowhere),
            ("streaming_conninfo", nowhere),
            ("backup_method", "postgres"),
            ("streaming_archiver", "on"),
            ("archiver", "on"),
            ("slot_name", "barman"),
        ];
        home.server("main", &[&common[..], options].concat());
        let ours = Repository::at(&home.path());
        ours.catalog.create_directories().expect("directories");
        Self { barman: Barman::reference(), home, ours }
    }

    fn barman(&self, arguments: &[&str]) -> String {
        self.barman.succeed(&self.home, arguments)
    }

    fn deliver(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.ours.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
        }
    }
}

/// A backup with something in every field that a new backup has.
fn record(id: &str, begin: u64, end: u64) -> BackupInfo {
    let mut info = backup(id, &name(begin), &name(end), Status::WaitingForWals);
    let begin_time = Timestamp::from_unix_micros(1_795_193_057_005_962);
    info.backup_label = Some("START WAL LOCATION: 0/200028\nLABEL: it's \"ours\" \\ é\n".to_owned());
    info.backup_name = Some(format!("name of {id}"));
    (info.begin_offset, info.end_offset) = (Some(40), Some(344));
    info.begin_time = Some(BackupTime::utc(begin_time));
    info.end_time = Some(BackupTime::utc(Timestamp::from_unix_micros(1_795_193_059_000_000)));
    (info.begin_xlog, info.end_xlog) = (Some(Lsn::new(begin << 20 | 40)), Some(Lsn::new(end << 20 | 344)));
    (info.size, info.deduplicated_size, info.cluster_size) = (Some(24_613_711), Some(24_613_711), Some(24_620_745));
    info.copy_stats = Some(CopyStats::new(2.447_594, 2.5));
    info.data_checksums = Some("on".to_owned());
    info.included_files = Some(vec!["/srv/it's/postgresql.auto.conf".to_owned()]);
    info.pgdata = Some("/srv/pgdata".to_owned());
    info.version = Some(150_018);
    info.tablespaces =
        Some(vec![Tablespace { name: "tbs1".to_owned(), oid: 16386, location: "/srv/tbs 1".to_owned() }]);
    info
}

fn save(home: &Home, info: &BackupInfo) {
    home.ours.catalog.save(info).expect("save");
    home.ours.catalog.create_backup_data(&info.backup_id, &[16386]).expect("directories");
}

/// Barman, which adds late segments to the end of the index, looks no further than the first one behind the next backup.
#[test]
fn barman_finds_a_segment_that_came_late() {
    let home = Home::new(&[]);
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    home.ours.catalog.write_identity(&identity).expect("identity");
    for (id, begin, end) in [(BACKUP, 2, 3), (LATER, 5, 6)] {
        save(&home, &record(id, begin, end));
    }
    home.deliver([2, 3, 5, 6, 7]);
    home.ours.ingest(WalSource::Incoming).expect("a run");
    let last_line = home.ours.text("wals/main-xlog.db").find(&name(7)).expect("it is archived").to_string();
    home.deliver([4]);
    home.ours.ingest(WalSource::Incoming).expect("a run");
    let listed = home.barman(&["list-files", "--target", "wal", "main", BACKUP]);
    let names: Vec<_> = listed.lines().filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect();
    assert_eq!(names, (2..=6).map(name).collect::<Vec<_>>());

    // A passive node asks for what is behind the line that was the last one when it asked before.
    home.deliver([8]);
    home.ours.ingest(WalSource::Incoming).expect("a run");
    let told = home.barman(&["sync-info", "main", &name(7), &last_line]);
    let names: Vec<_> = told.lines().filter(|line| line.contains("\"name\": \"0")).map(str::trim).collect();
    assert_eq!(names, [format!("\"name\": \"{}\",", name(8))], "{told}");
}

#[test]
fn barman_reads_our_records_and_writes_the_same() {
    let home = Home::new(&[]);
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    home.ours.catalog.write_identity(&identity).expect("identity");
    save(&home, &record(BACKUP, 2, 3));
    home.deliver(1..=4);
    home.ours.ingest(WalSource::Incoming).expect("a run");
    let listed = home.barman(&["list-backups", "main"]);
    assert!(listed.contains(&format!("main {BACKUP} 'name of {BACKUP}' - F - ")), "{listed}");
    let shown = home.barman(&["show-backup", "main", BACKUP]);
    for line in ["System Id              : 7710294594766418489", "tbs1                 : /srv/tbs 1 (oid: 16386)"] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    // Barman finds the WAL that we archived, and saves the record with its own spelling of every field.
    home.barman(&["check-backup", "main", BACKUP]);
    let expected = BackupInfo { status: Status::Done, ..record(BACKUP, 2, 3) };
    assert_eq!(home.ours.text(&format!("meta/{BACKUP}-backup.info")), expected.to_text());
}

#[test]
fn barman_rebuilds_the_index_that_we_wrote() {
    let home = Home::new(&[]);
    home.deliver(1..=3);
    home.ours.write("incoming/00000002.history", "1\t0/300000\treason\n");
    home.ours.write("incoming/000000010000000000000002.00000028.backup", "START WAL LOCATION: 0/200028\n");
    home.ours.ingest(WalSource::Incoming).expect("a run");
    let ours = home.ours.text("wals/main-xlog.db");
    home.barman(&["rebuild-xlogdb", "main"]);
    assert_eq!(home.ours.text("wals/main-xlog.db"), ours);
    std::fs::remove_file(home.ours.path("wals/main-xlog.db")).expect("remove");
    drop(home.ours.catalog.xlog_db().expect("index"));
    assert_eq!(home.ours.text("wals/main-xlog.db"), ours);
}

#[test]
fn both_archive_into_one_archive() {
    let home = Home::new(&[("compression", "gzip")]);
    home.deliver([1]);
    home.barman(&["archive-wal", "main"]);
    home.deliver([2]);
    home.ours.ingest(WalSource::Incoming).expect("a run");
    home.deliver([3]);
    home.barman(&["archive-wal", "main"]);
    let entries = home.ours.catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
    let compressed: Vec<_> = entries.iter().map(|entry| entry.compression.as_deref()).collect();
    assert_eq!(compressed, [Some("gzip"), None, Some("gzip")]);
    let lines: String = entries.iter().map(barman_catalog::XlogEntry::to_line).collect();
    assert_eq!(lines, home.ours.text("wals/main-xlog.db"));
    assert_eq!(home.ours.archived(), [name(1), name(2), name(3)]);
    let stored = home.ours.catalog.find_archived(&name(1).parse().expect("a name")).expect("readable").expect("found");
    assert_eq!(stored.encoding.compression(), Some("gzip"));
}

/// Either archives with one way of compressing, and both read what either stored.
fn take_turns(options: &[(&str, &str)], storage: WalStorage) {
    let home = Home::new(options);
    let name_of_it = storage.compression.expect("set").name();
    let catalog = storing(&home.ours, storage);
    let cancel = barman_storage::Cancel::new();
    let ingest =
        || catalog.ingest(WalSource::Incoming, &crate::repository::options(&cancel), &mut |_| {}).expect("a run");
    for round in 0..2 {
        home.deliver([1, 3]);
        home.ours.write("incoming/00000002.history", "1\t0/900000\treason\n");
        home.barman(&["archive-wal", "main"]);
        home.deliver([2, 4]);
        let summary = ingest();
        // The second time everything is there already, whoever archived it.
        assert_eq!(
            (summary.archived, summary.already_archived),
            if round == 0 { (2, 0) } else { (0, 2) },
            "{name_of_it}"
        );
        home.deliver([1, 2, 3]);
        home.barman(&["archive-wal", "main"]);
        assert!(home.ours.names("incoming").is_empty() && home.ours.names("errors").is_empty(), "{name_of_it}");
    }
    let output = home.ours.path("fetched");
    std::fs::create_dir(&output).expect("directory");
    for number in 2..=3 {
        let name = name(number);
        home.barman(&["get-wal", "-o", output.to_str().expect("text"), "main", &name]);
        assert!(std::fs::read(output.join(&name)).expect("fetched") == segment(&name, 7), "{name_of_it} {number}");
        assert!(crate::compression::contents(&catalog, &name) == segment(&name, 7), "{name_of_it} {number}");
    }
    assert_eq!(crate::compression::contents(&catalog, "00000002.history"), b"1\t0/900000\treason\n");
    let entries = catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
    assert!(entries.iter().all(|entry| entry.compression.as_deref() == Some(name_of_it)), "{entries:?}");
    let sizes = |home: &Home| {
        let entries = home.ours.catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
        entries.iter().map(|entry| (entry.name.to_string(), entry.size)).collect::<std::collections::BTreeMap<_, _>>()
    };
    let recorded = sizes(&home);
    home.barman(&["rebuild-xlogdb", "main"]);
    assert_eq!(sizes(&home), recorded, "{name_of_it}");
}

fn take_turns_with(algorithm: Algorithm) {
    take_turns(&[("compression", algorithm.name()), ("compression_level", "low")], crate::compression::with(algorithm));
}

#[test]
fn each_reads_what_the_other_compressed() {
    for algorithm in [Algorithm::Gzip, Algorithm::Bzip2, Algorithm::Xz] {
        take_turns_with(algorithm);
    }
    let filters = [
        ("compression", "custom"),
        ("custom_compression_filter", "gzip -c"),
        ("custom_decompression_filter", "gzip -dc"),
        ("custom_compression_magic", "0x1f8b08"),
    ];
    take_turns(&filters, crate::compression::custom_gzip());
}

#[test]
fn each_reads_what_the_other_compressed_with_packages_that_barman_does_not_bring() {
    for algorithm in
        [Algorithm::Zstd, Algorithm::Lz4, Algorithm::Snappy, Algorithm::Pigz, Algorithm::PyGzip, Algorithm::PyBzip2]
    {
        take_turns_with(algorithm);
    }
}

#[test]
fn our_numbers_are_barmans() {
    let home = Home::new(&[]);
    save(&home, &record(BACKUP, 2, 3));
    save(&home, &record(LATER, 6, 7));
    home.deliver(1..=9);
    for number in 1..=9 {
        let modified = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_795_193_000_500 + number * 7_000);
        let file = std::fs::File::open(home.ours.path("incoming").join(name(number))).expect("open");
        file.set_modified(modified).expect("time");
    }
    home.ours.write("incoming/000000010000000000000006.00000028.backup", "START WAL LOCATION: 0/600028\n");
    home.ours.write("incoming/00000002.history", "1\t0/900000\treason\n");
    home.ours.ingest(WalSource::Incoming).expect("a run");
    let backups = home.ours.catalog.backups().expect("records");
    let stats = home.ours.catalog.wal_stats(&backups).expect("readable");
    for info in &backups {
        let json = home.barman(&["-f", "json", "show-backup", "main", info.backup_id.as_str()]);
        let shown: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let (base, wal) = (&shown["main"]["base_backup_information"], &shown["main"]["wal_information"]);
        let ours = &stats[&info.backup_id];
        assert_eq!(base["wal_num"], ours.wal_num, "{json}");
        assert_eq!(base["wal_size_bytes"], ours.wal_size, "{json}");
        assert_eq!(wal["no_of_files"], ours.wal_until_next_num, "{json}");
        assert_eq!(wal["disk_usage_bytes"], ours.wal_until_next_size, "{json}");
        assert_eq!(wal["last_available"], ours.last.expect("some").to_string(), "{json}");
        // As text: what reads JSON may round the last digit.
        let rate = ours.wals_per_second().expect("some seconds apart");
        assert!(json.contains(&format!("\"wal_rate_per_second\": {rate:?}}}")), "{json}");
        let reachable = home.ours.catalog.reachable_timelines(info).expect("readable");
        let reachable: Vec<_> = reachable.iter().map(ToString::to_string).collect();
        assert_eq!(wal["timelines"], serde_json::json!(reachable), "{json}");
    }
}

#[test]
fn barman_respects_our_locks() {
    let home = Home::new(&[]);
    save(&home, &BackupInfo { status: Status::Done, ..record(BACKUP, 2, 3) });
    let archiving = home.ours.catalog.lock(Lock::ArchiveWal).expect("free");
    let told = home.barman(&["archive-wal", "main"]);
    assert!(told.contains("Another archive-wal process is already running on server main"), "{told}");
    drop(archiving);
    let lease = home.ours.catalog.lease(&BACKUP.parse().expect("an id")).expect("free");
    home.barman.run(&home.home, &["delete", "main", BACKUP]);
    assert!(home.ours.path(&format!("meta/{BACKUP}-backup.info")).exists(), "a lease keeps a backup");
    drop(lease);
    home.barman.run(&home.home, &["delete", "main", BACKUP]);
    assert!(!home.ours.path(&format!("meta/{BACKUP}-backup.info")).exists());
}

#[test]
fn records_that_barman_wrote_elsewhere_in_the_world_keep_their_offset() {
    let home = Home::new(&[]);
    save(&home, &record(BACKUP, 2, 3));
    let path = format!("meta/{BACKUP}-backup.info");
    let elsewhere = home.ours.text(&path).replace("+00:00", "+05:30");
    home.ours.write(&path, &elsewhere);
    let catalog = Catalog::open(ServerLayout::below(&home.home.path(), "main"), LocalZone::UTC);
    assert_eq!(catalog.backups().expect("records")[0].to_text(), elsewhere);
    let shown = home.barman(&["show-backup", "main", BACKUP]);
    assert!(shown.contains("2026-11-20 16:44:17.005962+05:30"), "{shown}");
}
