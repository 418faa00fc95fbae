//! An archive of the base-backup stream: nothing leaves its directory, no link is made, and how the connection cuts the
//! stream changes nothing.
#![no_main]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use barman_backup::{ArchiveName, testing::unpack_archive};
use barman_storage::Dir;
use libfuzzer_sys::fuzz_target;

/// No part of an archive has this length, so that borders of all kinds are cut.
const PIECE: usize = 301;

fuzz_target!(|archive: &[u8]| {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let whole = unpack(archive, archive.len().max(1), &outer.path().join("whole"));
    let in_pieces = unpack(archive, PIECE, &outer.path().join("pieces"));
    assert!(whole == in_pieces);
    assert_eq!(fs::read_dir(outer.path()).expect("it can be listed").count(), 2, "something was made elsewhere");
});

/// What unpacking made, each directory and the contents of each file, and the size that it reported if it succeeded.
fn unpack(archive: &[u8], piece: usize, root: &Path) -> (BTreeMap<PathBuf, Option<Vec<u8>>>, Option<u64>) {
    let pieces: Vec<_> = archive.chunks(piece).map(|piece| piece.to_vec().into()).collect();
    let dir = Dir::create(root, 0o700).expect("a new directory");
    let size = unpack_archive(ArchiveName::Main, &pieces, &dir).ok();
    let mut made = BTreeMap::new();
    walk(root, root, &mut made);
    let written: u64 = made.values().flatten().map(|contents| contents.len() as u64).sum();
    assert!(size.is_none_or(|size| size == written), "{size:?} reported, {written} written");
    (made, size)
}

fn walk(directory: &Path, root: &Path, made: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let entry = entry.expect("it can be listed");
        let (path, kind) = (entry.path(), entry.file_type().expect("it is there"));
        assert!(kind.is_dir() || kind.is_file(), "{path:?} is neither a file nor a directory");
        // The archive may have made it unreadable.
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("it is ours");
        let contents = kind.is_file().then(|| fs::read(&path).expect("it can be read"));
        made.insert(path.strip_prefix(root).expect("below").to_owned(), contents);
        if kind.is_dir() {
            walk(&path, root, made);
        }
    }
}
