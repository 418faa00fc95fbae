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

/// Python writes a byte that is part of no character as half a surrogate pair.
#[test]
fn half_surrogate_pairs_are_the_bytes_that_they_stand_for() {
    let path = |json: &str| {
        let manifest = with_entry(&format!(r#"{{"Path": "{json}", "Size": 0, "Last-Modified": ""}}"#));
        manifest.map(|mut manifest| manifest.files.pop().unwrap().path.into_os_string().into_vec())
    };
    assert_eq!(path(r"\udce9\udc80/caf\u00e9\udcff").unwrap(), b"\xe9\x80/caf\xc3\xa9\xff");
    assert_eq!(path(r"\ud83d\ude00").unwrap(), "\u{1f600}".as_bytes());
    for half in [r"\udc7f", r"\udd00", r"\ud83d", r"a\ud800b"] {
        let refusal = refusal(with_entry(&format!(r#"{{"Path": "{half}", "Size": 0, "Last-Modified": ""}}"#)));
        assert!(refusal.contains("half a surrogate pair that stands for no byte"), "{refusal}");
    }
    assert!(Manifest::parse(&with_raw_path(b"caf\xe9")).is_err(), "bytes that are no text");
    assert!(Manifest::parse(&with_raw_path(b"\xed\xb2\x80")).is_err(), "half a pair that is not escaped");
}

fn with_raw_path(path: &[u8]) -> Vec<u8> {
    let body = [
        &b"{\"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{\"Path\": \""[..],
        path,
        b"\", \"Size\": 0, \"Last-Modified\": \"\"}],\n",
    ]
    .concat();
    let checksum = Checksum::sha256(Sha256::new_with_prefix(&body));
    [body, format!("\"Manifest-Checksum\": \"{checksum}\"}}\n").into_bytes()].concat()
}

/// `verify_manifest_checksum` of `common/parse_manifest.c`: "last line not newline-terminated".
#[test]
fn the_last_line_has_its_line_end() {
    let whole = sealed("{\"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n");
    assert!(Manifest::parse(whole.as_bytes()).is_ok());
    let refusal = refusal(Manifest::parse(whole.trim_end().as_bytes()));
    assert!(
        refusal.starts_with("line 3 of the backup manifest cannot be read: expected a line end at byte"),
        "{refusal}"
    );
}

#[test]
fn an_outline_that_is_not_a_manifest_s_is_refused_with_its_line() {
    for (members, expected) in [
        ("", "line 2 of the backup manifest cannot be read: expected \"Files\" at byte 43, found"),
        (
            "\"Files\": [],\n\"Files\": [],\n",
            "line 3 of the backup manifest cannot be read: expected a member that was not there before",
        ),
        ("\"Files\": [1],\n", "line 2 of the backup manifest cannot be read: expected ]"),
        ("\"Files\": [{}],\n", "expected a file or a range of WAL in line 2 of the backup manifest: missing field"),
        ("\"Files\": [ , ],\n", "line 2 of the backup manifest cannot be read: expected ]"),
        ("\"Files\": [] \"WAL-Ranges\": [],\n", "line 2 of the backup manifest cannot be read: expected ,"),
        ("\"Files\": {},\n", "line 2 of the backup manifest cannot be read: expected ["),
        ("\"Novelty\": 1,\n", "line 2 of the backup manifest cannot be read: expected System-Identifier, Files"),
        (
            "\"Files\": [], ",
            "line 2 of the backup manifest cannot be read: expected a line end before \"Manifest-Checksum\"",
        ),
    ] {
        let text = sealed(&format!("{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n{members}"));
        let refusal = refusal(Manifest::parse(text.as_bytes()));
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn nothing_may_follow_the_checksum() {
    let text = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n");
    for behind in ["x", "{", "]", "{}"] {
        let refusal = refusal(Manifest::parse(format!("{text}{behind}").as_bytes()));
        assert!(refusal.starts_with("line 4 of the backup manifest cannot be read: expected the end"), "{refusal}");
    }
}

#[test]
fn an_endless_entry_is_refused_before_it_fills_the_memory() {
    let endless =
        std::io::Read::chain(&b"{\"PostgreSQL-Backup-Manifest-Version\": 1, \"Files\": [{"[..], std::io::repeat(b' '));
    assert!(matches!(Manifest::read(endless), Err(ManifestError::TooLong { line: 1, .. })));
}

/// Fails after some text.
struct Failing<'a>(&'a [u8]);

impl std::io::Read for Failing<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() { Err(std::io::Error::other("gone")) } else { self.0.read(into) }
    }
}

#[test]
fn a_source_that_fails_is_no_end_and_ends_the_items() {
    let text = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n");
    let mut items = ManifestItems::new(Failing(text.as_bytes()));
    assert!(matches!(items.next(), Some(Ok(ManifestItem::Version(ManifestVersion::V1)))));
    assert!(matches!(items.next(), Some(Err(ManifestError::Read(_)))));
    assert!(items.next().is_none());
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
        let start = format!("expected a file or a range of WAL in line 3 of the backup manifest: {expected}");
        assert!(refusal.starts_with(&start), "{refusal}");
    }
}

#[test]
fn other_versions_and_other_files_are_refused_by_name() {
    let parse = |text: &str| refusal(Manifest::parse(text.as_bytes()));
    let future = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 3,\n\"Novelty\": [],\n");
    assert_eq!(parse(&future), "backup manifest has version 3, expected 1 or 2");
    assert_eq!(
        parse("[]"),
        "not a backup manifest: expected { \"PostgreSQL-Backup-Manifest-Version\" at byte 0, found \"[\""
    );
    let anonymous = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"Files\": [],\n");
    assert_eq!(parse(&anonymous), "backup manifest of version 2 has no System-Identifier");
}

#[test]
fn a_cut_manifest_is_noticed_wherever_it_is_cut() {
    let text = sealed("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n");
    for len in 0..text.len() {
        assert!(Manifest::parse(&text.as_bytes()[..len]).is_err(), "{len}");
    }
    assert_eq!(
        refusal(Manifest::parse(b"{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n")),
        "backup manifest does not end with its checksum: expected \"Manifest-Checksum\" at byte 54, found the end"
    );
}

proptest! {
    #[test]
    fn parse_undoes_print(manifest in any_manifest()) {
        prop_assert_eq!(Manifest::parse(manifest.to_string().as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn chunks_never_change_what_is_read(manifest in any_manifest(), len in 1..50usize) {
        let text = manifest.to_string();
        let mut reader = ManifestReader::new();
        let mut items = Vec::new();
        for mut chunk in text.as_bytes().chunks(len) {
            while let Some(item) = reader.next(&mut chunk).unwrap() {
                items.push(item);
            }
            prop_assert!(chunk.is_empty());
        }
        prop_assert!(reader.finish().is_ok());
        prop_assert_eq!(items.into_iter().collect::<Manifest>(), manifest);
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
