//! History files, labels, tablespace maps and manifests.

use std::os::unix::ffi::OsStrExt as _;

use wal_format::{
    BackupLabel, BackupMethod, BackupSource, Checksum, ChecksumAlgorithm, Hasher, IncrementalFrom, Lsn, Manifest,
    ManifestError, ManifestVersion, SystemId, TablespaceMap, TimelineHistory, TimelineId, WalRange,
};

use crate::golden;

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

fn history(major: u32, own: u32) -> TimelineHistory {
    TimelineHistory::parse(timeline(own), &golden(&format!("{major}/{own:08X}.history"))).unwrap()
}

fn label(name: &str) -> BackupLabel {
    BackupLabel::parse(&String::from_utf8(golden(name)).unwrap()).unwrap()
}

fn manifest(writer: &str) -> Manifest {
    Manifest::parse(&golden(&format!("{writer}/backup_manifest"))).unwrap()
}

/// The checksum that a manifest has for the file at `path`.
fn listed<'a>(manifest: &'a Manifest, path: &[u8]) -> Option<&'a Checksum> {
    let file = manifest.files.iter().find(|file| file.path.as_os_str().as_bytes() == path).unwrap();
    file.checksum.as_ref()
}

#[test]
fn a_history_knows_why_and_where_each_timeline_ended() {
    let third = history(15, 3);
    let reasons: Vec<_> = third.entries.iter().map(|entry| entry.reason.as_str()).collect();
    assert_eq!(reasons, ["at restore point \"before the \"big\" change\"", "no recovery target specified"]);
    assert_eq!(third.switch_lsn(timeline(1)), Some(Lsn::new(0x0301_7F60)));
    assert_eq!(third.switch_lsn(timeline(2)), Some(Lsn::new(0x0301_A0C0)));
    assert_eq!(third.timeline_at(Lsn::new(0x0301_7F60)), timeline(2));
    assert_eq!(history(15, 2).entries, third.entries[..1]);
}

#[test]
fn a_history_is_printed_as_the_server_wrote_it() {
    assert_eq!(history(15, 2).to_string().into_bytes(), golden("15/00000002.history"));
    assert_eq!(history(15, 3).to_string().into_bytes(), golden("15/00000003.history"));
}

#[test]
fn padded_positions_of_19_are_read() {
    let third = history(19, 3);
    assert_eq!(third.switch_lsn(timeline(1)), Some(Lsn::new(0x0301_F700)));
    assert_eq!(TimelineHistory::parse(timeline(3), third.to_string().as_bytes()), Ok(third));
    assert_eq!(label("19/backup_label").start_lsn, Lsn::new(0x0200_0028));
    assert_eq!(manifest("19").wal_ranges[0].start, Lsn::new(0x0200_0028));
}

#[test]
fn a_label_says_where_recovery_begins() {
    let expected = BackupLabel {
        start_lsn: Lsn::new(0x0200_0028),
        start_wal: "000000010000000000000002".parse().unwrap(),
        checkpoint_lsn: Lsn::new(0x0200_0060),
        method: BackupMethod::Streamed,
        from: BackupSource::Primary,
        start_time: "2026-11-20 18:47:03 UTC".into(),
        label: "nightly backup".into(),
        start_timeline: timeline(1),
        incremental_from: None,
    };
    assert_eq!(label("15/backup_label"), expected);
}

#[test]
fn the_label_of_an_incremental_backup_names_the_one_before() {
    let before = IncrementalFrom { lsn: Lsn::new(0x0200_0028), timeline: timeline(1) };
    for major in [18, 19] {
        assert_eq!(label(&format!("{major}/backup_label.incremental")).incremental_from, Some(before));
    }
}

#[test]
fn labels_are_printed_as_the_server_wrote_them() {
    for name in ["15/backup_label", "18/backup_label", "18/backup_label.incremental"] {
        assert_eq!(label(name).to_string().into_bytes(), golden(name), "{name}");
    }
}

#[test]
fn escaped_tablespace_paths_are_read_and_printed() {
    for major in [15, 18, 19] {
        let text = golden(&format!("{major}/tablespace_map"));
        let map = TablespaceMap::parse(&text).unwrap();
        let entries: Vec<_> = map.entries.iter().map(|entry| (entry.oid, entry.location.as_str())).collect();
        assert_eq!(entries, [(16384, "/srv/tablespaces/plain"), (16385, "/srv/tablespaces/back\\slash\nnewline")]);
        assert_eq!(map.to_string().into_bytes(), text);
    }
}

#[test]
fn a_manifest_lists_files_and_wal() {
    let first = manifest("15");
    assert_eq!((first.version, first.system_id), (ManifestVersion::V1, None));
    let range = WalRange { timeline: timeline(1), start: Lsn::new(0x0200_0028), end: Lsn::new(0x0200_0100) };
    assert_eq!(first.wal_ranges, [range]);
    let control = first.files.iter().find(|file| file.path.as_os_str() == "global/pg_control").unwrap();
    assert_eq!((control.size, control.modified.as_str()), (8192, "2026-11-20 18:47:03 GMT"));
    assert_eq!(manifest("18").version, ManifestVersion::V2);
    assert_eq!(manifest("18").system_id, Some(SystemId::new(7_710_327_109_023_167_961)));
}

#[test]
fn the_checksums_listed_are_those_of_the_files() {
    for (writer, algorithm, path) in [
        ("15", ChecksumAlgorithm::Crc32c, "backup_label"),
        ("15", ChecksumAlgorithm::Crc32c, "tablespace_map"),
        ("18", ChecksumAlgorithm::Sha224, "backup_label"),
        ("18", ChecksumAlgorithm::Sha224, "tablespace_map"),
    ] {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&golden(&format!("{writer}/{path}")));
        assert_eq!(listed(&manifest(writer), path.as_bytes()), hasher.finish().as_ref(), "{writer}/{path}");
    }
    assert_eq!(listed(&manifest("19"), b"backup_label"), None);
}

#[test]
fn a_path_that_is_not_utf8_is_decoded() {
    for writer in ["15", "18", "19"] {
        listed(&manifest(writer), b"caf\xe9");
    }
}

#[test]
fn manifests_are_printed_as_the_server_wrote_them() {
    for writer in ["15", "18"] {
        assert_eq!(manifest(writer).to_string().into_bytes(), golden(&format!("{writer}/backup_manifest")));
    }
}

#[test]
fn a_manifest_that_barman_wrote_has_no_wal_ranges() {
    let manifest = manifest("barman");
    assert_eq!((manifest.version, manifest.wal_ranges.len(), manifest.files.len()), (ManifestVersion::V1, 0, 6));
    let mut hasher = Hasher::new(ChecksumAlgorithm::Sha256);
    hasher.update(b"15\n");
    assert_eq!(listed(&manifest, b"PG_VERSION"), hasher.finish().as_ref());
    listed(&manifest, "café".as_bytes());
    listed(&manifest, b"quote\"d");
}

/// PostgreSQL's own programs refuse such a manifest.
#[test]
fn a_path_that_barman_could_not_write_as_text_is_decoded() {
    let manifest = Manifest::parse(&golden("barman/backup_manifest.bytes")).unwrap();
    listed(&manifest, b"caf\xe9");
    let again = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
    assert_eq!(again, manifest);
}

#[test]
fn a_changed_manifest_is_refused() {
    let mut text = golden("15/backup_manifest");
    let size = text.windows(4).position(|bytes| bytes == b"8192").unwrap();
    text[size] = b'9';
    assert!(matches!(Manifest::parse(&text), Err(ManifestError::Checksum { .. })));
}
