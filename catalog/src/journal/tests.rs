#![allow(clippy::disallowed_methods, reason = "what a crash or somebody else leaves")]

use super::*;
use barman_storage::testing::{Crash, Loss, Recorder};
use proptest::prelude::*;
use std::fs;

const FORMAT: Format = Format { name: *b"TEST", version: 3 };
const NAME: &str = "journal";

fn open(path: &std::path::Path) -> Journal {
    Journal::new(&Dir::open(path).unwrap(), RelativePath::literal(NAME), FORMAT)
}

fn read(journal: &Journal) -> (Vec<Vec<u8>>, Extent) {
    let mut entries = Vec::new();
    let extent = journal.read(|entry| {
        entries.push(entry.to_vec());
        Ok(())
    });
    (entries, extent.unwrap())
}

fn append(journal: &Journal, entries: &[&[u8]]) {
    let (_, mut extent) = read(journal);
    journal.append(&mut extent, entries).unwrap();
    assert_eq!(extent, read(journal).1);
}

#[test]
fn entries_come_back_in_order() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path());
    assert_eq!(read(&journal), (vec![], Extent::NONE));
    append(&journal, &[b"one", b"two"]);
    append(&journal, &[b"three"]);
    assert_eq!(read(&journal).0, [&b"one"[..], b"two", b"three"]);
    journal.rewrite(&[b"four"]).unwrap();
    append(&journal, &[b"five"]);
    assert_eq!(read(&journal).0, [b"four", b"five"]);
}

/// The format is on disks: these bytes may only change with a version.
#[test]
fn a_journal_is_laid_out_as_documented() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path());
    append(&journal, &[b"abc"]);
    let bytes = fs::read(root.path().join(NAME)).unwrap();
    assert_eq!(bytes[..16], *b"\x93BARMAN\nTEST\x03\0\0\0");
    assert_eq!(bytes[16..20], crc32c(&bytes[..16]).to_le_bytes());
    assert_eq!(bytes[20..24], [3, 0, 0, 0]);
    assert_eq!(bytes[24..28], crc32c(b"\x03\0\0\0\0\0\0\0abc").to_le_bytes());
    assert_eq!(bytes[28..], *b"abc");
}

#[test]
fn what_is_behind_the_last_whole_entry_is_cut_off() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path());
    append(&journal, &[b"one", b"two"]);
    let path = root.path().join(NAME);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        for filling in [0, 512] {
            let mut torn = whole[..length].to_vec();
            torn.resize(length + filling, 0);
            fs::write(&path, torn).unwrap();
            let before = read(&journal).0;
            append(&journal, &[b"three"]);
            let (after, extent) = read(&journal);
            assert_eq!((&after[..before.len()], &after[before.len()..]), (&before[..], &[b"three".to_vec()][..]));
            assert_eq!(extent.length, fs::metadata(&path).unwrap().len(), "{length} {filling}");
        }
    }
}

#[test]
fn other_files_and_versions_are_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path());
    let refused = |bytes: &[u8]| {
        fs::write(root.path().join(NAME), bytes).unwrap();
        match journal.read(|_| Ok(())).unwrap_err() {
            Error::Journal { source, .. } => source,
            other => panic!("{other}"),
        }
    };
    let newer = [Format { version: 4, ..FORMAT }.header(), b"whatever".to_vec()].concat();
    assert_eq!(refused(&newer), JournalError::Version { expected: 3, found: 4 });
    let other = [Format { name: *b"RATE", ..FORMAT }.header(), b"whatever".to_vec()].concat();
    assert_eq!(refused(&other), JournalError::Other { expected: "TEST".to_owned() });
    assert!(matches!(refused(b"000000010000000000000004\t16524\t1795193057.28\n"), JournalError::Other { .. }));
}

#[test]
fn power_may_fail_at_any_moment() {
    let root = tempfile::tempdir().unwrap();
    append(&open(root.path()), &[b"one"]);
    open(root.path()).sync().unwrap();
    let recorder = Recorder::start(root.path());
    append(&open(root.path()), &[b"two", b"three"]);
    append(&open(root.path()), &[b"four"]);
    let recording = recorder.recording();
    for position in 0..=recording.len() {
        for loss in [Loss::Nothing, Loss::Everything, Loss::Seed(1), Loss::Seed(2), Loss::Seed(3)] {
            let left = tempfile::tempdir().unwrap();
            recording.replay(Crash { position, loss }, left.path()).unwrap();
            let journal = open(left.path());
            let (entries, _) = read(&journal);
            assert!(entries.starts_with(&[b"one".to_vec()]), "what was synced is there");
            assert!(["one", "two", "three", "four"].iter().zip(&entries).all(|(a, b)| a.as_bytes() == b));
            append(&journal, &[b"five"]);
            assert_eq!(read(&journal).0.len(), entries.len() + 1);
        }
    }
}

proptest! {
    #[test]
    fn fields_come_back(number: u64, signed: i64, optional in prop::option::of(0..u64::MAX), bytes: Vec<u8>) {
        let mut writer = FieldWriter::default();
        writer.number(number).signed(signed).optional(optional).bytes(&bytes);
        let entry = writer.finish();
        let mut reader = FieldReader::new(&entry);
        prop_assert_eq!(reader.number(), Some(number));
        prop_assert_eq!(reader.signed(), Some(signed));
        prop_assert_eq!(reader.optional(), Some(optional));
        prop_assert_eq!(reader.bytes(), Some(&bytes[..]));
        prop_assert_eq!(reader.number(), None);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let root = tempfile::tempdir().unwrap();
        let noise = [FORMAT.header(), bytes.clone()].concat();
        for contents in [&bytes, &noise] {
            fs::write(root.path().join(NAME), contents).unwrap();
            let _ = open(root.path()).read(|entry| {
                let mut fields = FieldReader::new(entry);
                while fields.number().is_some() || fields.bytes().is_some_and(|bytes| !bytes.is_empty()) {}
                Ok(())
            });
        }
    }
}
