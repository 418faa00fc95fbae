//! Archives as PostgreSQL writes them, and as nobody should.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use barman_storage::RelativePath;
use proptest::prelude::*;
use tar::{EntryType, Header};
use wal_format::crc32c;

use super::super::received_files::Comparison;
use super::*;

const FILE: EntryType = EntryType::Regular;
const DIRECTORY: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;

/// An archive under construction, with headers that the tar crate would refuse to write.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn with(mut self, kind: EntryType, name: &[u8], content: &[u8]) -> Self {
        let header = Self::header(kind, name, content.len() as u64);
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn with_size(mut self, kind: EntryType, name: &[u8], size: u64) -> Self {
        self.0.extend_from_slice(Self::header(kind, name, size).as_bytes());
        self
    }

    fn header(kind: EntryType, name: &[u8], size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(if kind == DIRECTORY { 0o40700 } else { 0o100_600 });
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        header.set_cksum();
        header
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn unpack(archive: ArchiveName, root: &Path, bytes: &[u8]) -> Result<Unpacked, BaseBackupError> {
    let cancel = Cancel::new();
    let mut unpacker = Unpacker::new(&cancel);
    unpacker.unpack(archive, &Dir::open(root).unwrap(), &mut &bytes[..])?;
    Ok(unpacker.finish())
}

/// Why a whole archive was refused because of one of its entries.
fn refusal(archive: ArchiveName, tar: Tar) -> EntryError {
    let root = tempfile::tempdir().unwrap();
    match unpack(archive, root.path(), &tar.end()).unwrap_err() {
        BaseBackupError::Entry { kind, .. } => kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_s_archive_is_placed_with_modes_and_checksums() {
    let root = tempfile::tempdir().unwrap();
    let content = vec![7; 300_000];
    let tar = Tar::default()
        .with(FILE, b"backup_label", b"START")
        .with(DIRECTORY, b"base/", b"")
        .with(DIRECTORY, b"base/1/", b"")
        .with(FILE, b"base/1/1259", &content)
        .with(FILE, b"base/1/empty", b"")
        .with(DIRECTORY, b"pg_wal/", b"")
        .with(DIRECTORY, b"./pg_wal/archive_status/", b"")
        .with(DIRECTORY, b"pg_tblspc/", b"")
        .with(LINK, b"pg_tblspc/16386/", b"");
    let unpacked = unpack(ArchiveName::Main, root.path(), &tar.end()).unwrap();

    assert_eq!(std::fs::read(root.path().join("base/1/1259")).unwrap(), content);
    assert!(root.path().join("pg_wal/archive_status").is_dir());
    assert!(!root.path().join("pg_tblspc/16386").exists(), "links are made by the caller, to its own directories");
    let mode = |path: &str| std::fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("base/1/1259"), mode("base/1")), (0o600, 0o700));

    assert_eq!(unpacked.bytes, 300_005);
    assert_eq!(unpacked.links, BTreeSet::from([16386]));
    let mut files = unpacked.files.into_index();
    assert_eq!(files.compare(b"base/1/1259", 300_000, crc32c(&content)), Comparison::Equal);
    assert_eq!(files.compare(b"base/1/empty", 0, crc32c(b"")), Comparison::Equal);
    assert_eq!(files.compare(b"backup_label", 5, crc32c(b"START")), Comparison::Equal);
    assert!(files.is_exhausted());
}

#[test]
fn modes_that_let_a_group_read_do_not_depend_on_the_umask() {
    let root = tempfile::tempdir().unwrap();
    let mut tar = Tar::default();
    for (kind, name, mode) in [(DIRECTORY, &b"base/"[..], 0o40750), (FILE, b"base/1", 0o104_660)] {
        let mut header = Tar::header(kind, name, 0);
        header.set_mode(mode);
        header.set_cksum();
        tar.0.extend_from_slice(header.as_bytes());
    }
    unpack(ArchiveName::Main, root.path(), &tar.end()).unwrap();
    let mode = |path: &str| std::fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
    // The usual umask of 022 would have made 0640 of the file.
    assert_eq!((mode("base"), mode("base/1")), (0o750, 0o660));
}

#[test]
fn an_archive_may_end_without_its_two_empty_blocks_as_before_version_15() {
    let root = tempfile::tempdir().unwrap();
    let tar = Tar::default().with(FILE, b"PG_VERSION", b"13\n");
    unpack(ArchiveName::Main, root.path(), &tar.0).unwrap();
    assert_eq!(std::fs::read(root.path().join("PG_VERSION")).unwrap(), b"13\n");
}

#[test]
fn files_of_a_tablespace_are_known_by_their_path_in_the_manifest() {
    let root = tempfile::tempdir().unwrap();
    let tar = Tar::default().with(DIRECTORY, b"PG_15_1/", b"").with(FILE, b"PG_15_1/5", b"abc");
    let unpacked = unpack(ArchiveName::Tablespace(16386), root.path(), &tar.end()).unwrap();
    let compared = unpacked.files.into_index().compare(b"pg_tblspc/16386/PG_15_1/5", 3, crc32c(b"abc"));
    assert_eq!(compared, Comparison::Equal);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["/etc/passwd", ".//etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "./", "", "a//b", "a/./b"] {
        for kind in [FILE, DIRECTORY, LINK] {
            let refusal = refusal(ArchiveName::Main, Tar::default().with(kind, name.as_bytes(), b""));
            assert!(matches!(refusal, EntryError::Path(_)), "{name}: {refusal:?}");
        }
    }
}

#[test]
fn what_postgresql_never_sends_is_refused() {
    for kind in *b"1346Ss7VxgLKDNMX" {
        let refusal = refusal(ArchiveName::Main, Tar::default().with(EntryType::new(kind), b"x", b""));
        assert!(matches!(refusal, EntryError::Type { found } if found == char::from(kind)), "{refusal:?}");
    }
}

#[test]
fn links_are_refused_but_for_the_data_directory_s_tablespaces() {
    for name in ["base/1/x", "pg_tblspc/x", "pg_tblspc/1/2", "pg_wal", "pg_tblspc", "pg_tblspc/4294967296"] {
        let refusal = refusal(ArchiveName::Main, Tar::default().with(LINK, name.as_bytes(), b""));
        assert!(matches!(refusal, EntryError::Link), "{name}: {refusal:?}");
    }
    let refusal = refusal(ArchiveName::Tablespace(1), Tar::default().with(LINK, b"pg_tblspc/1", b""));
    assert!(matches!(refusal, EntryError::Link));
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    for (first, second) in [(FILE, FILE), (FILE, DIRECTORY), (DIRECTORY, FILE), (DIRECTORY, DIRECTORY)] {
        let refusal = refusal(ArchiveName::Main, Tar::default().with(first, b"x", b"").with(second, b"./x", b""));
        assert!(matches!(refusal, EntryError::Duplicate), "{first:?} {second:?}: {refusal:?}");
    }
    let twice = Tar::default().with(LINK, b"pg_tblspc/1", b"").with(LINK, b"pg_tblspc/1/", b"");
    assert!(matches!(refusal(ArchiveName::Main, twice), EntryError::Duplicate));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let size = |kind, size| refusal(ArchiveName::Main, Tar::default().with_size(kind, b"pg_tblspc/1", size));
    assert!(matches!(size(FILE, 1 << 60), EntryError::Size { found, .. } if found == 1 << 60));
    assert!(matches!(size(DIRECTORY, 1), EntryError::Size { limit: 0, found: 1 }));
    assert!(matches!(size(LINK, 1), EntryError::Size { limit: 0, found: 1 }));
    // The next header would lie beyond all addresses.
    let root = tempfile::tempdir().unwrap();
    let beyond = Tar::default().with_size(FILE, b"x", u64::MAX);
    assert!(unpack(ArchiveName::Main, root.path(), &beyond.end()).is_err());
}

#[test]
fn a_file_cut_short_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let tar = Tar::default().with_size(FILE, b"x", 2000);
    let error = unpack(ArchiveName::Main, root.path(), &[&tar.0[..], &[1; 700]].concat()).unwrap_err();
    let is_cut = |kind: &EntryError| matches!(kind, EntryError::Truncated { expected: 2000, found: 700 });
    assert!(matches!(&error, BaseBackupError::Entry { entry, kind, .. } if entry == "x" && is_cut(kind)), "{error:?}");
}

#[test]
fn what_follows_the_end_of_an_archive_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let hidden = Tar::default().with(FILE, b"y", b"").0;
    let bytes = [Tar::default().with(FILE, b"x", b"").end(), hidden].concat();
    let error = unpack(ArchiveName::Main, root.path(), &bytes).unwrap_err();
    assert!(matches!(error, BaseBackupError::Archive { .. }), "{error:?}");
}

#[test]
fn nothing_is_written_through_a_link() {
    let root = tempfile::tempdir().unwrap();
    let tar = Tar::default().with(DIRECTORY, b"pg_tblspc/", b"").with(LINK, b"pg_tblspc/1/", b"").with(
        FILE,
        b"pg_tblspc/1/x",
        b"",
    );
    let error = unpack(ArchiveName::Main, root.path(), &tar.end()).unwrap_err();
    assert!(matches!(error, BaseBackupError::Storage(_)), "{error:?}");
}

#[test]
fn a_cancelled_backup_stops_at_the_next_entry() {
    let root = tempfile::tempdir().unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let mut unpacker = Unpacker::new(&cancel);
    let bytes = Tar::default().with(FILE, b"x", b"").end();
    let error = unpacker.unpack(ArchiveName::Main, &Dir::open(root.path()).unwrap(), &mut &bytes[..]).unwrap_err();
    assert!(matches!(error, BaseBackupError::Cancelled(_)), "{error:?}");
    assert!(!root.path().join("x").exists());
}

/// Names and kinds of which many are hostile, and headers that are damaged.
fn any_archive() -> impl Strategy<Value = Vec<u8>> {
    let name = proptest::string::bytes_regex("(\\.|\\.\\.|a|b|pg_tblspc|1|/|\\\\|\\xff){0,8}").unwrap();
    let kind = prop_oneof![Just(b'0'), Just(b'5'), Just(b'2'), any::<u8>()];
    let content = proptest::collection::vec(any::<u8>(), 0..600);
    let entries = proptest::collection::vec((kind, name, content), 0..6);
    let damage = proptest::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (entries, damage).prop_map(|(entries, damage)| {
        let with = |tar: Tar, (kind, name, content): (u8, Vec<u8>, Vec<u8>)| {
            tar.with(EntryType::new(kind), &name[..name.len().min(100)], &content)
        };
        let mut bytes = entries.into_iter().fold(Tar::default(), with).end();
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn no_archive_writes_outside_its_directory_or_makes_links(bytes in any_archive()) {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("a");
        let dir = Dir::create(&root, 0o700).unwrap();
        let _ = unpack(ArchiveName::Main, &root, &bytes);
        prop_assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
        let mut waiting = vec![dir];
        while let Some(dir) = waiting.pop() {
            for entry in dir.entries().unwrap() {
                prop_assert!(entry.kind != barman_storage::Kind::Symlink);
                if entry.kind == barman_storage::Kind::Directory {
                    waiting.push(dir.subdir(&RelativePath::new(&entry.name).unwrap()).unwrap());
                }
            }
        }
    }
}
