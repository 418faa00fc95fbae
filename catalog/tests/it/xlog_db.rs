//! The index of the archive.

use barman_catalog::{Error, XlogEntry};
use proptest::prelude::*;

use crate::repository::{Repository, name};

const DB: &str = "wals/main-xlog.db";

fn line(number: u64) -> String {
    format!("{}\t1048576\t1795193262.0\tNone\tNone\n", name(number))
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(line).collect()
}

fn entry(number: u64) -> XlogEntry {
    XlogEntry {
        name: name(number).parse().expect("a name"),
        size: 1 << 20,
        modified: 1_795_193_262.0,
        compression: None,
        encryption: None,
    }
}

#[test]
fn entries_are_appended_in_order() {
    let repository = Repository::new();
    repository.catalog.xlog_db().expect("index").append([&entry(1), &entry(3)]).expect("append");
    repository.catalog.xlog_db().expect("index").append([&entry(4)]).expect("append");
    assert_eq!(repository.text(DB), line(1) + &line(3) + &line(4));
    assert_eq!(repository.catalog.xlog_db().expect("index").entries().expect("entries")[1], entry(3));
}

/// Barman reads no further than the first segment behind what it looks for.
#[test]
fn a_segment_that_comes_late_goes_to_where_it_belongs() {
    let repository = Repository::new();
    let append = |entries: &[&XlogEntry]| repository.catalog.xlog_db().expect("index").append(entries.iter().copied());
    let other = XlogEntry { name: "000000020000000000000002".parse().expect("a name"), ..entry(0) };
    let history = XlogEntry { name: "00000002.history".parse().expect("a name"), ..entry(0) };
    append(&[&entry(2), &entry(6), &history, &other]).expect("append");
    append(&[&entry(4), &entry(7)]).expect("append");
    let others = history.to_line() + &other.to_line();
    assert_eq!(repository.text(DB), line(2) + &line(4) + &line(6) + &others + &line(7));
    append(&[&entry(1), &entry(3), &entry(5)]).expect("append");
    assert_eq!(repository.text(DB), lines(1..7) + &others + &line(7));
    // The last lines are of another timeline: its own are further up. And others' lines stay as they are.
    let spaced = line(3).replace('\t', "  ");
    let many: String = (3..1000u32)
        .map(|number| line(0).replacen(&name(0), &format!("00000002{:08X}{:08X}", number >> 8, number & 0xFF), 1))
        .collect();
    repository.write(DB, line(1) + &spaced + &many);
    append(&[&entry(2)]).expect("append");
    assert_eq!(repository.text(DB), lines(1..3) + &spaced + &many);
}

/// What is broken in the index is for a rebuild to mend.
#[test]
fn a_broken_index_keeps_no_segment_waiting() {
    let repository = Repository::new();
    repository.write(DB, "no line of an index\n".to_owned() + &line(3));
    repository.catalog.xlog_db().expect("index").append([&entry(2)]).expect("append");
    assert_eq!(repository.text(DB), "no line of an index\n".to_owned() + &line(3) + &line(2));
}

#[test]
fn a_missing_index_is_rebuilt_in_barmans_order() {
    let repository = Repository::new();
    let archive = [
        ("0000000100000000/000000010000000000000001", &b"\x10\xd1 plain"[..]),
        ("0000000100000000/000000010000000000000002", b"\x1f\x8b\x08 gzip"),
        ("0000000100000000/000000010000000000000002.00000028.backup", b"START WAL LOCATION"),
        ("0000000100000000/000000010000000000000003.partial", b"\x10\xd1"),
        ("00000002.history", b"1\t0/3000000\treason"),
        ("0000000200000000/000000020000000000000003", b"\x85\x01\x0c\x03 gpg"),
    ];
    for (path, bytes) in archive {
        repository.write(&format!("wals/{path}"), bytes);
    }
    for junk in ["junk", "sync-wals.info", "xlog.db", "0000000100000000/.x.tmp", "0000000100000000/junk"] {
        repository.write(&format!("wals/{junk}"), "x");
    }
    let entries = repository.catalog.xlog_db().expect("index").entries().expect("entries");
    let names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
    let expected: Vec<_> = archive.iter().map(|(path, _)| path.rsplit('/').next().expect("a name")).collect();
    assert_eq!(names, expected);
    assert_eq!(entries[1].compression.as_deref(), Some("gzip"));
    assert_eq!(entries[5].encryption.as_deref(), Some("gpg"));
    assert_eq!(entries[0].size, 8);
    assert!(!repository.path("wals/xlog.db").exists(), "Barman removes the index of older versions");
}

#[test]
fn an_index_of_an_empty_archive_is_empty() {
    let repository = Repository::new();
    assert_eq!(repository.recorded(), Vec::<String>::new());
    assert_eq!(repository.text(DB), "");
}

#[test]
fn a_last_line_that_was_cut_short_is_completed_or_removed() {
    let repository = Repository::new();
    let whole = repository.path(&format!("wals/0000000100000000/{}", name(2)));
    repository.write(&format!("wals/0000000100000000/{}", name(2)), "12345");
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_193_262);
    std::fs::File::options().write(true).open(whole).expect("open").set_modified(modified).expect("time");
    let completed = line(1) + &line(2).replace("1048576", "5");
    for (left, expected) in [
        (line(1) + &line(2)[..40], completed.as_str()),
        (line(1) + &line(2)[..25], completed.as_str()),
        // The name itself may be cut: which file it was about is not known.
        (line(1) + &line(2)[..24], &line(1)),
        (line(1) + &line(2)[..3], &line(1)),
        // Not archived after all.
        (line(1) + &line(3)[..40], &line(1)),
        (line(1) + "\0\0\0\0", &line(1)),
        (line(1), &line(1)),
    ] {
        repository.write(DB, &left);
        repository.catalog.xlog_db().expect("index");
        assert_eq!(repository.text(DB), expected, "{left:?}");
    }
}

/// Of several lines that were appended together, a sector may be lost and one behind it not; then Barman added a line.
#[test]
fn lines_with_a_lost_sector_are_completed_or_removed() {
    let repository = Repository::new();
    repository.write(&format!("wals/0000000100000000/{}", name(2)), "12345");
    let lost = line(1) + &line(2)[..40] + &"\0".repeat(512) + &line(9)[30..] + &line(10) + &line(11);
    repository.write(DB, lost);
    assert_eq!(repository.recorded(), [1, 2, 10, 11].map(name));
}

#[test]
fn lines_that_make_no_sense_are_named() {
    let repository = Repository::new();
    for bad in ["garbage\n".to_owned(), "a".repeat(10_000) + "\n", "x\t1\t1.0\n".to_owned()] {
        repository.write(DB, line(1) + &bad);
        match repository.catalog.xlog_db().expect("index").entries() {
            Err(Error::XlogDb { line, .. }) => assert_eq!(line, 2, "{bad}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn removing_entries_leaves_the_others_byte_for_byte() {
    let repository = Repository::new();
    let odd = "000000010000000000000005  1   1795193057\n";
    repository.write(DB, line(1) + odd + "\n" + &line(6));
    let mut db = repository.catalog.xlog_db().expect("index");
    assert_eq!(db.retain(|line| line.name() != name(1)).expect("rewritten"), 1);
    assert_eq!(repository.text(DB), odd.to_owned() + &line(6));
    assert_eq!(db.retain(|_| true).expect("nothing to do"), 0);
}

#[test]
fn names_are_found_wherever_they_stand() {
    let repository = Repository::new();
    // Far more than is read at a time.
    repository.write(DB, lines(0..20_000));
    let db = repository.catalog.xlog_db().expect("index");
    for number in (0..20_000).step_by(617).chain([19_999]) {
        assert!(db.contains(&name(number).parse().expect("a name")).expect("readable"), "{number}");
    }
    for absent in [name(20_000), format!("{}.partial", name(7)), "00000002.history".to_owned()] {
        assert!(!db.contains(&absent.parse().expect("a name")).expect("readable"), "{absent}");
    }
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]
    #[test]
    fn what_is_kept_is_what_was_not_removed(present in prop::collection::vec(0u64..50, 0..60), removed in 0u64..50) {
        let repository = Repository::new();
        repository.write(DB, present.iter().map(|number| line(*number)).collect::<String>());
        let mut db = repository.catalog.xlog_db().expect("index");
        let gone = db.retain(|line| line.name() != name(removed)).expect("rewritten");
        drop(db);
        let kept: Vec<_> = present.iter().filter(|number| **number != removed).map(|number| name(*number)).collect();
        prop_assert_eq!(gone, present.len() - kept.len());
        prop_assert_eq!(repository.recorded(), kept);
    }
}
