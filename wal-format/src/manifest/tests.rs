use std::error::Error as _;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::ChecksumAlgorithm;

/// A manifest whose text before the last line is `body`.
fn sealed(body: &str) -> String {
    let checksum = Checksum::sha256(Sha256::new_with_prefix(body));
    format!("{body}\"Manifest-Checksum\": \"{checksum}\"}}\n")
}

/// A manifest of version 1 with one file entry.
fn with_entry(entry: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(
        sealed(&format!("{{\"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{entry}],\n")).as_bytes(),
    )
}

/// The error with its causes, as a program shows them.
fn refusal(result: Result<Manifest, ManifestError>) -> String {
    let error = result.unwrap_err();
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn any_checksum() -> impl Strategy<Value = Option<Checksum>> {
    use ChecksumAlgorithm::{Crc32c, None, Sha224, Sha256, Sha384, Sha512};
    let algorithm = prop::sample::select(vec![None, Crc32c, Sha224, Sha256, Sha384, Sha512]);
    (algorithm, any::<[u8; 32]>()).prop_map(|(algorithm, bytes)| {
        let bytes: Vec<u8> = bytes.iter().cycle().copied().take(algorithm.digest_len()).collect();
        Checksum::new(algorithm, &bytes)
    })
}

fn any_file() -> impl Strategy<Value = ManifestFile> {
    let path = prop_oneof![any::<String>().prop_map(String::into_bytes), any::<Vec<u8>>()];
    (path, any::<u64>(), any::<String>(), any_checksum()).prop_map(|(path, size, modified, checksum)| ManifestFile {
        path: PathBuf::from(OsString::from_vec(path)),
        size,
        modified,
        checksum,
    })
}

fn any_wal_range() -> impl Strategy<Value = WalRange> {
    (1..=u32::MAX, any::<u64>(), any::<u64>()).prop_map(|(timeline, start, end)| WalRange {
        timeline: TimelineId::new(timeline).unwrap(),
        start: Lsn::new(start),
        end: Lsn::new(end),
    })
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let files = prop::collection::vec(any_file(), 0..5);
    let wal_ranges = prop::collection::vec(any_wal_range(), 0..3);
    (prop::option::of(any::<u64>()), files, wal_ranges).prop_map(|(system_id, files, wal_ranges)| Manifest {
        version: if system_id.is_some() { ManifestVersion::V2 } else { ManifestVersion::V1 },
        system_id: system_id.map(SystemId::new),
        files,
        wal_ranges,
    })
}

#[test]
fn paths_may_be_plain_or_encoded() {
    let path = |entry| with_entry(entry).unwrap().files.pop().unwrap().path.into_os_string().into_vec();
    assert_eq!(path(r#"{"Path": "a\"\u00e9", "Size": 0, "Last-Modified": ""}"#), "a\"é".as_bytes());
    assert_eq!(path(r#"{"Encoded-Path": "636166E9", "Size": 0, "Last-Modified": ""}"#), b"caf\xe9");
}

#[test]
fn an_entry_that_contradicts_itself_is_refused_with_its_line() {
    for (entry, expected) in [
        (r#""Size": 0"#, "file has both or neither of Path and Encoded-Path, expected one"),
        (
            r#""Path": "a", "Encoded-Path": "61", "Size": 0"#,
            "file has both or neither of Path and Encoded-Path, expected one",
        ),
        (r#""Encoded-Path": "6", "Size": 0"#, "Encoded-Path is \"6\", expected pairs of hexadecimal digits"),
        (r#""Path": "a", "Size": -1"#, "invalid value: integer `-1`, expected u64"),
        (
            r#""Path": "a", "Size": 0, "Checksum-Algorithm": "MD5", "Checksum": "00""#,
            "checksum algorithm is \"MD5\", expected NONE, CRC32C, SHA224, SHA256, SHA384 or SHA512",
        ),
        (
            r#""Path": "a", "Size": 0, "Checksum-Algorithm": "CRC32C", "Checksum": "000000""#,
            "checksum is \"000000\", expected 8 hexadecimal digits for CRC32C",
        ),
        (
            r#""Path": "a", "Size": 0, "Checksum": "00000000""#,
            "checksum is \"00000000\", expected 0 hexadecimal digits for NONE",
        ),
        (r#""Path": "a", "Size": 0, "Owner": "me""#, "unknown field `Owner`"),
    ] {
        let refusal = refusal(with_entry(&format!("{{{entry}, \"Last-Modified\": \"\"}}")));
        assert!(refusal.starts_with(&format!("backup manifest cannot be read: {expected}")), "{refusal}");
        assert!(refusal.contains("at line 3"), "{refusal}");
    }
}

#[test]
fn other_versions_and_other_files_are_refused_by_name() {
    let parse = |text: &str| refusal(Manifest::parse(text.as_bytes()));
    let future = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 3,\n\"Novelty\": [],\n");
    assert_eq!(parse(&future), "backup manifest has version 3, expected 1 or 2");
    assert_eq!(
        parse("[]"),
        "not a backup manifest: expected { \"PostgreSQL-Backup-Manifest-Version\" at byte 0, found \"[]\""
    );
    let anonymous = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"Files\": [],\n");
    assert_eq!(parse(&anonymous), "backup manifest of version 2 has no System-Identifier");
}

#[test]
fn the_line_end_after_the_checksum_may_be_missing() {
    let text = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n");
    assert!(Manifest::parse(text.as_bytes()).is_ok());
    assert!(Manifest::parse(text.trim_end().as_bytes()).is_ok());
}

#[test]
fn a_cut_manifest_is_noticed_wherever_it_is_cut() {
    let text = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n");
    for len in 0..text.trim_end().len() {
        assert!(Manifest::parse(&text.as_bytes()[..len]).is_err(), "{len}");
    }
    assert_eq!(
        refusal(Manifest::parse(b"{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n")),
        "backup manifest does not end with its checksum: expected \"Manifest-Checksum\" at byte 43, found \"\\\"Files\\\": [\""
    );
}

proptest! {
    #[test]
    fn parse_undoes_print(manifest in any_manifest()) {
        prop_assert_eq!(Manifest::parse(manifest.to_string().as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn any_changed_byte_is_noticed(manifest in any_manifest(), at: prop::sample::Index, bit in 0..8u8) {
        let mut text = manifest.to_string().into_bytes();
        let at = at.index(text.len() - 1);
        text[at] ^= 1 << bit;
        // A digit of the checksum in the other case is the same checksum.
        let same = text.eq_ignore_ascii_case(manifest.to_string().as_bytes()) && at > text.len() - 68;
        prop_assert_eq!(Manifest::parse(&text).is_ok(), same);
    }

    #[test]
    fn no_bytes_panic(text: Vec<u8>, files in "[ -~\n]{0,60}") {
        let _ = Manifest::parse(&text);
        let _ = with_entry(&files);
    }
}
