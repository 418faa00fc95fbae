//! Whole backups, hand-made: what makes one complete, and what keeps its manifest from appearing.

use std::collections::{BTreeMap, BTreeSet};

use barman_storage::testing::{Recorder, Recording, Survivors};
use bytes::Bytes;
use tar::{EntryType, Header};
use wal_format::{ChecksumAlgorithm, Hasher, crc32c};

use super::super::piece_reader::Piece;
use super::*;

const MAIN: Piece = Piece::Border(Border::Archive(ArchiveName::Main));
const TABLESPACE: Piece = Piece::Border(Border::Archive(ArchiveName::Tablespace(16386)));
const MANIFEST: Piece = Piece::Border(Border::Manifest);
const END: Piece = Piece::Border(Border::End);
const LABEL_TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../wal-format/testdata/15/backup_label"));
const LABEL: (&str, &[u8]) = ("backup_label", LABEL_TEXT.as_bytes());
const FILE: (&str, &[u8]) = ("PG_VERSION", b"15\n");

fn tar(files: &[(&str, &[u8])]) -> Piece {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_ustar();
        header.set_mode(if content.is_empty() { 0o700 } else { 0o600 });
        header.set_size(content.len() as u64);
        header.set_entry_type(if content.is_empty() { EntryType::Directory } else { EntryType::Regular });
        tar.append_data(&mut header, name, *content).unwrap();
    }
    Piece::Data(tar.into_inner().unwrap().into())
}

fn link(name: &str) -> Piece {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Symlink);
    header.set_mode(0o777);
    header.set_size(0);
    tar.append_link(&mut header, name, "/srv/tbs1").unwrap();
    let bytes = tar.into_inner().unwrap();
    // Without the end of the archive: another piece follows.
    Piece::Data(Bytes::copy_from_slice(&bytes[..512]))
}

fn manifest(files: &[(&str, &[u8])]) -> Piece {
    let line = |(path, content): &(&str, &[u8])| {
        let crc: String = crc32c(content).to_ne_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let (size, algorithm) = (content.len(), "\"Checksum-Algorithm\": \"CRC32C\"");
        format!(
            "\n{{ \"Path\": \"{path}\", \"Size\": {size}, \"Last-Modified\": \"\", {algorithm}, \"Checksum\": \"{crc}\" }}"
        )
    };
    let lines = files.iter().map(line).collect::<Vec<_>>().join(",");
    let body =
        format!("{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [{lines}\n],\n\"WAL-Ranges\": [\n],\n");
    let mut hasher = Hasher::new(ChecksumAlgorithm::Sha256);
    hasher.update(body.as_bytes());
    let checksum: String = hasher.finish().unwrap().bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Piece::Data(format!("{body}\"Manifest-Checksum\": \"{checksum}\"}}\n").into())
}

struct Ground {
    root: tempfile::TempDir,
    data: BackupData,
    /// Where the server says that the backup starts.
    start: Lsn,
}

impl Ground {
    fn new() -> Self {
        Self::below(tempfile::tempdir().unwrap())
    }

    fn below(root: tempfile::TempDir) -> Self {
        let dir = |name: &str| Dir::create(&root.path().join(name), 0o700).unwrap();
        let data = BackupData { data: dir("data"), tablespaces: BTreeMap::from([(16386, dir("16386"))]) };
        Self { root, data, start: BackupLabel::parse(LABEL_TEXT).unwrap().start_lsn }
    }

    fn place(&self, pieces: Vec<Piece>) -> Result<Placed, BaseBackupError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(pieces.len());
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        drop(sender);
        let (verified, _) = oneshot::channel();
        let (cancel, sync_jobs) = (Cancel::new(), NonZeroUsize::MIN);
        let placement = Placement { data: &self.data, cancel: &cancel, sync_jobs, start: self.start };
        placement.run(PieceReader::new(receiver), verified)
    }

    fn has_manifest(&self) -> bool {
        self.root.path().join("data/backup_manifest").exists()
    }

    /// Places what has to fail, and makes sure that it does not look complete afterwards.
    fn fail(pieces: Vec<Piece>) -> BaseBackupError {
        let ground = Self::new();
        let error = ground.place(pieces).unwrap_err();
        assert!(!ground.has_manifest());
        error
    }
}

#[test]
fn a_complete_backup_gets_its_links_and_last_its_manifest() {
    let ground = Ground::new();
    let main = [LABEL, FILE, ("pg_tblspc/", b"")];
    let listed = [LABEL, FILE, ("pg_tblspc/16386/PG_15_1/5", b"table")];
    let pieces = vec![
        TABLESPACE,
        tar(&[("PG_15_1/", b""), ("PG_15_1/5", b"table")]),
        MAIN,
        link("pg_tblspc/16386"),
        // Made after the backup began: not announced, so not ours to link.
        link("pg_tblspc/16999"),
        tar(&main),
        MANIFEST,
        manifest(&listed),
        END,
    ];
    let placed = ground.place(pieces).unwrap();
    assert_eq!((placed.files, placed.label_text.as_str()), (3, LABEL_TEXT));
    assert!(ground.has_manifest());
    assert_eq!(placed.size, ground.data.size().unwrap());
    let through_link = ground.root.path().join("data/pg_tblspc/16386/PG_15_1/5");
    assert_eq!(std::fs::read(through_link).unwrap(), b"table");
    assert!(!ground.root.path().join("data/pg_tblspc/16999").is_symlink());
}

#[test]
fn a_difference_from_the_manifest_fails_the_backup_and_names_the_file() {
    let with_manifest =
        |listed: &[(&str, &[u8])]| match Ground::fail(vec![MAIN, tar(&[LABEL, FILE]), MANIFEST, manifest(listed), END])
        {
            BaseBackupError::Manifest(error) => error,
            other => panic!("{other:?}"),
        };
    let changed = with_manifest(&[LABEL, ("PG_VERSION", b"16\n")]);
    assert!(matches!(changed, ManifestError::FileChecksum { path, .. } if path == "PG_VERSION"));
    let longer = with_manifest(&[LABEL, ("PG_VERSION", b"15\n\n")]);
    assert!(matches!(longer, ManifestError::Size { path, expected: 4, found: 3 } if path == "PG_VERSION"));
    let missing = with_manifest(&[LABEL, FILE, ("base/1/1259", b"x")]);
    assert!(matches!(missing, ManifestError::Missing { path } if path == "base/1/1259"));
    let extra = with_manifest(&[LABEL]);
    assert!(matches!(extra, ManifestError::Extra { path } if path == "PG_VERSION"));
}

#[test]
fn an_extra_file_of_a_tablespace_is_named_as_the_manifest_would() {
    let table = tar(&[("5", b"table")]);
    let pieces = vec![TABLESPACE, table, MAIN, tar(&[LABEL]), MANIFEST, manifest(&[LABEL]), END];
    let error = Ground::fail(pieces);
    let expected = "pg_tblspc/16386/5";
    assert!(
        matches!(&error, BaseBackupError::Manifest(ManifestError::Extra { path }) if path == expected),
        "{error:?}"
    );
}

#[test]
fn a_stream_that_breaks_off_anywhere_leaves_no_manifest() {
    let whole = || vec![MAIN, tar(&[LABEL, FILE]), MANIFEST, manifest(&[LABEL, FILE]), END];
    for length in 1..whole().len() {
        let mut pieces = whole();
        pieces.truncate(length);
        let error = Ground::fail(pieces);
        assert!(error.is_transient(), "{length}: {error:?}");
    }
    assert!(Ground::new().place(whole()).is_ok());
}

#[test]
fn parts_in_a_wrong_order_are_refused() {
    let unknown = Piece::Border(Border::Archive(ArchiveName::Tablespace(1)));
    let error = Ground::fail(vec![unknown, tar(&[FILE]), END]);
    assert!(matches!(error, BaseBackupError::UnknownTablespace { .. }), "{error:?}");
    let error = Ground::fail(vec![MAIN, tar(&[LABEL]), END]);
    assert!(matches!(error, BaseBackupError::Sequence { expected: "a manifest", .. }), "{error:?}");
    let error = Ground::fail(vec![MAIN, tar(&[LABEL]), MANIFEST, manifest(&[LABEL]), MAIN]);
    assert!(matches!(error, BaseBackupError::Sequence { expected: "the end", .. }), "{error:?}");
    let error = Ground::fail(vec![MAIN, tar(&[FILE]), MANIFEST, manifest(&[FILE]), END]);
    assert!(matches!(error, BaseBackupError::LabelMissing), "{error:?}");
}

#[test]
fn a_label_that_is_none_or_another_backup_s_is_refused() {
    let none = ("backup_label", &b"START"[..]);
    let error = Ground::fail(vec![MAIN, tar(&[none]), MANIFEST, manifest(&[none]), END]);
    assert!(matches!(error, BaseBackupError::Label(_)), "{error:?}");

    let found = Ground::new().start;
    let ground = Ground { start: Lsn::new(7), ..Ground::new() };
    let error = ground.place(vec![MAIN, tar(&[LABEL]), MANIFEST, manifest(&[LABEL]), END]).unwrap_err();
    assert!(
        matches!(error, BaseBackupError::LabelStart { expected, found: other } if (expected, other) == (Lsn::new(7), found))
    );
    assert!(!ground.has_manifest());
}

/// Each sync is left out in turn: then some loss of power leaves a manifest, or a backup that is done, without all its files.
#[test]
fn the_manifest_appears_only_after_everything_else_is_durable() {
    const MANIFEST_BEING_WRITTEN: &str = "data/.backup_manifest.tmp";
    let ground = Ground::new();
    let listed = [LABEL, FILE, ("base/1/2", b"one"), ("pg_tblspc/16386/PG_15_1/5", b"table")];
    let main = tar(&[LABEL, FILE, ("base/", b""), ("base/1/", b""), ("base/1/2", b"one"), ("pg_tblspc/", b"")]);
    let table = tar(&[("PG_15_1/", b""), ("PG_15_1/5", b"table")]);
    let pieces = vec![TABLESPACE, table, MAIN, link("pg_tblspc/16386"), main, MANIFEST, manifest(&listed), END];
    let recorder = Recorder::start(ground.root.path());
    let ground = Ground::below(ground.root);
    let begun = recorder.position();
    ground.place(pieces).unwrap();
    let recording = recorder.recording();
    let Piece::Data(whole_manifest) = manifest(&listed) else { unreachable!() };

    let is_safe = |position: usize, left: &Survivors| {
        let is_there = |(path, content): &(&str, &[u8])| {
            let in_data = format!("data/{path}");
            left.file(path.strip_prefix("pg_tblspc/").unwrap_or(&in_data)) == Some(content)
        };
        let is_whole = |found: &[u8]| {
            found == whole_manifest && listed.iter().all(is_there) && left.contains("data/pg_tblspc/16386")
        };
        left.file("data/backup_manifest").map_or(position < recording.len(), is_whole)
    };
    let is_proven_wrong = |recording: &Recording| recording.find_crash(20, is_safe).is_some();
    assert!(!is_proven_wrong(&recording));
    let syncs = recording.syncs().into_iter().filter(|sync| *sync >= begun);
    let (needed, spare): (Vec<_>, Vec<_>) = syncs.partition(|sync| is_proven_wrong(&recording.without_sync(*sync)));
    let names = |syncs: &[usize]| {
        let path = |sync: &usize| recording.synced(*sync).unwrap().display().to_string();
        syncs.iter().map(path).collect::<BTreeSet<_>>()
    };
    let all = [
        "16386",
        "16386/PG_15_1",
        "16386/PG_15_1/5",
        "data",
        "data/PG_VERSION",
        "data/backup_label",
        "data/base",
        "data/base/1",
        "data/base/1/2",
        "data/pg_tblspc",
    ];
    assert_eq!(names(&needed), all.map(str::to_owned).into());
    // The manifest is one of the files in the tree, and synced again as whatever gets a name: either would do, and one must.
    assert_eq!(names(&spare), [MANIFEST_BEING_WRITTEN.to_owned()].into());
    let without = spare.iter().fold(recording.clone(), |recording, sync| recording.without_sync(*sync));
    assert!(is_proven_wrong(&without));
}
