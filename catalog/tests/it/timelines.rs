//! Timelines in the archive.

use barman_catalog::{Error, Status};
use wal_format::{Lsn, TimelineId};

use crate::repository::{Repository, backup, name};

fn numbers(timelines: impl IntoIterator<Item = TimelineId>) -> Vec<u32> {
    timelines.into_iter().map(TimelineId::get).collect()
}

#[test]
fn timelines_have_segments() {
    let repository = Repository::new();
    for path in [
        "0000000100000000/000000010000000000000001",
        "0000000100000001/000000010000000100000001",
        "0000000300000000/000000030000000000000001",
        "0000000400000000/000000040000000000000001.partial",
        "00000005.history",
        "junk/000000060000000000000001",
    ] {
        repository.write(&format!("wals/{path}"), "x");
    }
    assert_eq!(numbers(repository.catalog.archived_timelines().expect("readable")), [1, 3]);
}

#[test]
fn timelines_are_reachable_that_branched_off_after_the_backup() {
    let repository = Repository::new();
    let mut info = backup("20260101T000000", &name(1), &name(1), Status::Done);
    info.end_xlog = Some(Lsn::new(0x300_0000));
    repository.write("wals/00000002.history", "1\t0/3000000\treason\n");
    repository.write("wals/00000003.history", "1\t0/2FFFFFF\treason\n");
    repository.write("incoming/00000004.history", "1\t0/3000000\tr\n\n2\t0/4000000\tr\n");
    repository.write("wals/00000006.history", "1\t0/5000000\treason\n");
    assert_eq!(numbers(repository.catalog.reachable_timelines(&info).expect("readable")), [2, 4]);
    info.end_xlog = None;
    assert_eq!(numbers(repository.catalog.reachable_timelines(&info).expect("readable")), Vec::<u32>::new());
}

#[test]
fn a_history_that_cannot_be_read_is_an_error() {
    let repository = Repository::new();
    let history = || repository.catalog.timeline_history(TimelineId::new(2).expect("not 0"));
    assert_eq!(history().expect("readable"), None);
    repository.write("wals/00000002.history", b"\x85\x01\x0c\x03");
    assert!(matches!(history(), Err(Error::Encoded { .. })));
    repository.write("wals/00000002.history", b"\x1f\x8b\x08");
    assert!(matches!(history(), Err(Error::Storage(_))));
    repository.write("wals/00000002.history", "nonsense");
    assert!(matches!(history(), Err(Error::History { .. })));
}
