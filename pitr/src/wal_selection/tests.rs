use proptest::prelude::*;
use wal_format::{Lsn, TimelineHistory, TimelineId};

use super::*;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

/// Timeline 1 was left for 2 within segment 5.
fn path(to: u32) -> TimelinePath {
    let text = if to == 2 { "1\t0/5000100\tfailover\n" } else { "" };
    let history = TimelineHistory::parse(timeline(to), text.as_bytes()).unwrap();
    TimelinePath::find(timeline(1), Lsn::new(0x300_0000), &history).unwrap()
}

/// The range from segment 2 on.
fn range(path: &TimelinePath, last: Option<u64>) -> WalRange<'_> {
    WalRange { path, size: SIZE, first: SegmentNumber::new(2), last: last.map(SegmentNumber::new) }
}

fn archive(names: &[&str]) -> Vec<WalFileName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Names as short as they can be told apart: `1/5` is segment 5 of timeline 1.
fn segment(short: &str) -> String {
    let (timeline, rest) = short.split_once('/').unwrap();
    let (number, suffix) = rest.split_once('.').map_or((rest, ""), |(number, suffix)| (number, suffix));
    let dot = if suffix.is_empty() { "" } else { "." };
    format!("{timeline:0>8}00000000{number:0>8}{dot}{suffix}")
}

fn segments(short: &[&str]) -> Vec<WalFileName> {
    short.iter().map(|short| segment(short).parse().unwrap()).collect()
}

fn select(range: &WalRange<'_>, archived: &[WalFileName], partial: bool) -> Vec<String> {
    range.select(archived, partial).iter().map(|wal| wal.name.to_string()).collect()
}

fn full(short: &[&str]) -> Vec<String> {
    short.iter().map(|short| segment(short)).collect()
}

#[test]
fn what_the_backup_needs_and_what_follows_on_its_timeline_is_selected() {
    let archived = segments(&["1/1", "1/2", "1/2.00000028.backup", "1/3", "1/6", "2/5", "2/6"]);
    let path = path(1);
    assert_eq!(select(&range(&path, None), &archived, false), full(&["1/2", "1/2.00000028.backup", "1/3", "1/6"]));
}

#[test]
fn the_selection_follows_the_timelines_to_the_target() {
    let archived = segments(&["1/2", "1/4", "1/5", "1/6", "1/7", "2/5", "2/6", "3/6"]);
    let path = path(2);
    assert_eq!(select(&range(&path, None), &archived, false), full(&["1/2", "1/4", "1/5", "2/5", "2/6"]));
}

#[test]
fn every_history_file_is_selected() {
    let mut archived = segments(&["1/1", "1/2"]);
    archived.extend(archive(&["00000002.history", "00000003.history"]));
    let path = path(1);
    let selected = select(&range(&path, Some(2)), &archived, false);
    assert_eq!(selected, [segment("1/2"), "00000002.history".to_owned(), "00000003.history".to_owned()]);
}

#[test]
fn nothing_behind_the_last_segment_is_selected() {
    let archived = segments(&["1/2", "1/3", "1/4"]);
    let path = path(1);
    assert_eq!(select(&range(&path, Some(3)), &archived, false), full(&["1/2", "1/3"]));
}

#[test]
fn incomplete_segments_stand_in_for_whole_ones_only_when_asked_for() {
    let archived = segments(&["1/2", "1/3.partial", "1/2.partial", "1/9.partial", "2/5.partial"]);
    let path = path(2);
    assert_eq!(select(&range(&path, None), &archived, false), full(&["1/2"]));
    let selected = range(&path, None).select(&archived, true);
    let archived_names: Vec<_> = selected.iter().map(|wal| wal.archived.to_string()).collect();
    assert_eq!(archived_names, full(&["1/2", "1/3.partial", "2/5.partial"]));
    let names: Vec<_> = selected.iter().map(|wal| wal.name.to_string()).collect();
    assert_eq!(names, full(&["1/2", "1/3", "2/5"]));
}

#[test]
fn the_next_segment_lies_on_the_last_timeline() {
    let path = path(2);
    let next = |short: &[&str]| {
        let range = range(&path, None);
        range.next_segment(&range.select(&segments(short), false)).unwrap().to_string()
    };
    assert_eq!(next(&["1/2", "2/6"]), segment("2/7"));
    assert_eq!(next(&["1/2", "1/4"]), segment("2/5"));
    assert_eq!(next(&["1/2", "1/3"]), segment("1/4"));
    assert_eq!(next(&[]), segment("1/2"));
}

#[test]
fn holes_are_found_wherever_they_are() {
    let path = path(2);
    let missing = |short: &[&str], until: Option<u64>| {
        let range = range(&path, None);
        let selected = range.select(&segments(short), false);
        let missing = range.missing(&selected, until.map(SegmentNumber::new));
        missing.iter().map(|hole| (hole.first.to_string(), hole.count)).collect::<Vec<_>>()
    };
    assert_eq!(missing(&["1/2", "1/3", "1/4", "2/5"], None), []);
    assert_eq!(missing(&["1/2", "1/3", "1/4", "1/5", "2/6"], None), []);
    assert_eq!(missing(&["1/4", "2/5", "2/9"], None), [(segment("1/2"), 2), (segment("2/6"), 3)]);
    assert_eq!(missing(&["1/2", "2/9"], Some(3)), [(segment("1/3"), 1)]);
    assert_eq!(missing(&[], Some(3)), [(segment("1/2"), 2)]);
    assert_eq!(missing(&[], None), []);
}

#[test]
fn a_target_lsn_limits_the_selection_and_other_targets_do_not() {
    let within = Lsn::new(0x4FF_FFFF);
    let last = |stop| WalRange::last_segment(Some(&stop), within, SegmentNumber::new(4), SIZE).map(SegmentNumber::get);
    assert_eq!(last(StopPoint::Immediate), Some(4));
    let border = WalRange::last_segment(Some(&StopPoint::Immediate), Lsn::new(0x500_0000), SegmentNumber::new(4), SIZE);
    assert_eq!(border.map(SegmentNumber::get), Some(5), "the record behind the end is read");
    // Two of the longest records behind it, 128 segments.
    assert_eq!(last(StopPoint::Lsn(Lsn::new(0x900_0000))), Some(9 + 128));
    assert_eq!(last(StopPoint::Lsn(Lsn::new(u64::MAX))), None);
    assert_eq!(last(StopPoint::Xid("7".parse().unwrap())), None);
    assert_eq!(last(StopPoint::Name("n".parse().unwrap())), None);
    assert_eq!(WalRange::last_segment(None, within, SegmentNumber::new(4), SIZE), None);
}

proptest! {
    /// Names such as an archive in any state may have neither stop the selection nor make it take long.
    #[test]
    fn any_archive_is_searched_at_once(
        names in prop::collection::vec("0000000[1-3][0-9A-F]{16}(|\\.partial|\\.0000002[0-9A-F]\\.backup)", 0..20),
        partial: bool,
    ) {
        let archived: Vec<WalFileName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let path = path(2);
        let range = range(&path, None);
        let selected = range.select(&archived, partial);
        prop_assert!(selected.iter().all(|wal| archived.contains(&wal.archived)));
        let _ = (range.missing(&selected, None), range.next_segment(&selected));
    }
}
