//! The manifest of a real server, and what happens to them on the way.

use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;
use wal_format::{ChecksumAlgorithm, Hasher, Manifest};

use super::super::received_files::ReceivedFiles;
use super::*;

const V1: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../wal-format/testdata/15/backup_manifest"));

/// Path, size and CRC-32C.
type File = (Vec<u8>, u64, u32);

/// What a backup consists of that agrees with the manifest, by way of `wal_format`'s reader.
fn files_of(manifest: &[u8]) -> Vec<File> {
    let files = Manifest::parse(manifest).unwrap().files.into_iter();
    files
        .map(|file| {
            let crc = file.checksum.unwrap().as_crc32c().unwrap();
            (file.path.as_os_str().as_bytes().to_vec(), file.size, crc)
        })
        .collect()
}

fn index(files: &[File]) -> FileIndex {
    let mut received = ReceivedFiles::new();
    for (path, size, crc) in files {
        received.add(path, *size, *crc);
    }
    received.into_index()
}

fn check_text(manifest: &[u8], files: &mut FileIndex) -> Result<u64, ManifestError> {
    check(manifest, files, |_| Ok(()))
}

/// Puts the right checksum under a manifest that was changed.
fn seal(body: &str) -> Vec<u8> {
    let mut hasher = Hasher::new(ChecksumAlgorithm::Sha256);
    hasher.update(body.as_bytes());
    let checksum = hasher.finish().unwrap();
    format!("{body}\"Manifest-Checksum\": \"{checksum}\"}}\n").into_bytes()
}

fn with_files(files: &str) -> Vec<u8> {
    seal(&format!("{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [{files}\n],\n\"WAL-Ranges\": [\n],\n"))
}

#[test]
fn a_server_s_manifest_agrees_with_its_files_and_is_stored_as_it_came() {
    let files = files_of(V1);
    let mut index = index(&files);
    let mut stored = Vec::new();
    let store = |line: &[u8]| {
        stored.extend_from_slice(line);
        Ok::<_, ManifestError>(())
    };
    assert_eq!(check(V1, &mut index, store).unwrap(), files.len() as u64);
    assert!(index.is_exhausted());
    assert!(stored == V1);
}

#[test]
fn version_2_names_the_system_before_the_files() {
    let body = String::from_utf8(V1.to_vec()).unwrap();
    let body = body.split("\"Manifest-Checksum\"").next().unwrap();
    let manifest =
        seal(&body.replacen("Version\": 1,\n", "Version\": 2,\n\"System-Identifier\": 7710294594766418489,\n", 1));
    assert!(Manifest::parse(&manifest).is_ok());
    let files = files_of(V1);
    assert_eq!(check_text(&manifest, &mut index(&files)).unwrap(), files.len() as u64);
}

#[test]
fn each_difference_names_the_file() {
    let files = files_of(V1);
    let (path, size, crc) = files[3].clone();
    let name = String::from_utf8(path.clone()).unwrap();
    let differing = |change: &dyn Fn(&mut Vec<File>)| {
        let mut files = files.clone();
        change(&mut files);
        check_text(V1, &mut index(&files)).unwrap_err()
    };

    let missing = differing(&|files| drop(files.remove(3)));
    assert!(matches!(missing, ManifestError::Missing { path } if path == name));
    let longer = differing(&|files| files[3].1 += 1);
    let is_size = |expected, found| expected == size && found == size + 1;
    assert!(
        matches!(longer, ManifestError::Size { path, expected, found } if path == name && is_size(expected, found))
    );
    let changed = differing(&|files| files[3].2 ^= 1);
    let is_crc = |expected, found| expected == crc && found == crc ^ 1;
    assert!(
        matches!(changed, ManifestError::FileChecksum { path, expected, found } if path == name && is_crc(expected, found))
    );
}

#[test]
fn a_manifest_that_names_a_file_twice_is_refused() {
    let line = r#"{ "Path": "PG_VERSION", "Size": 3, "Last-Modified": "x", "Checksum-Algorithm": "CRC32C", "Checksum": "8a744722" }"#;
    let error = check_text(&with_files(&format!("\n{line},\n{line}")), &mut index(&files_of(V1))).unwrap_err();
    assert!(matches!(error, ManifestError::Repeated { path } if path == "PG_VERSION"));
}

#[test]
fn names_that_are_not_utf_8_are_encoded() {
    let line = r#"{ "Encoded-Path": "62c3", "Size": 0, "Last-Modified": "x", "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" }"#;
    let mut index = index(&[(b"b\xc3".to_vec(), 0, 0)]);
    assert_eq!(check_text(&with_files(&format!("\n{line}")), &mut index).unwrap(), 1);
}

#[test]
fn a_checksum_that_was_not_asked_for_proves_nothing() {
    for checksum in [
        "",
        r#", "Checksum-Algorithm": "SHA224", "Checksum": "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f""#,
    ] {
        let line = format!(r#"{{ "Path": "a", "Size": 0, "Last-Modified": "x"{checksum} }}"#);
        let mut index = index(&[(b"a".to_vec(), 0, 0)]);
        let error = check_text(&with_files(&format!("\n{line}")), &mut index).unwrap_err();
        assert!(matches!(error, ManifestError::NoCrc { path } if path == "a"));
    }
}

#[test]
fn what_is_no_manifest_is_refused() {
    let error = check_text(&with_files("\n{}"), &mut index(&[])).unwrap_err();
    assert!(matches!(error, ManifestError::Damaged(wal_format::ManifestError::Entry { line: 3, .. })), "{error:?}");
}

proptest! {
    #[test]
    fn a_manifest_cut_short_is_refused(length in prop_oneof![0..V1.len(), V1.len() - 200..V1.len()]) {
        prop_assert!(check_text(&V1[..length], &mut index(&files_of(V1))).is_err());
    }

    #[test]
    fn a_manifest_with_any_bit_changed_is_refused(at in 0..V1.len(), bit in 0..8) {
        prop_assert!(is_refused_or_means_the_same(at, bit));
    }
}

/// The checksum covers all lines but this one.
#[test]
fn a_last_line_with_any_bit_changed_is_refused() {
    let last_line = V1.windows(19).position(|text| text == b"\"Manifest-Checksum\"").unwrap();
    for (at, bit) in (last_line..V1.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        assert!(is_refused_or_means_the_same(at, bit), "bit {bit} of byte {at}");
    }
}

/// A digit of the checksum may be in upper case, as PostgreSQL reads it.
fn is_refused_or_means_the_same(at: usize, bit: i32) -> bool {
    let mut manifest = V1.to_vec();
    manifest[at] ^= 1_u8 << bit;
    let is_digit_in_upper_case = matches!((V1[at], manifest[at]), (b'a'..=b'f', b'A'..=b'F'));
    check_text(&manifest, &mut index(&files_of(V1))).is_err() || is_digit_in_upper_case
}
