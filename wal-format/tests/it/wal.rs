//! WAL pages.

use wal_format::{Lsn, PageHeader, PgMajor, SegmentHeader, SegmentName, SegmentSize, SystemId, TimelineId};

use crate::{golden, waldump};

#[test]
fn the_first_segment_of_each_version_is_recognised() {
    let name: SegmentName = "000000010000000000000001".parse().unwrap();
    for major in PgMajor::ALL {
        let header = SegmentHeader::parse(&golden(&format!("{major}/segment_header"))).unwrap();
        assert_eq!(header.major, major);
        assert_eq!(header.timeline, TimelineId::FIRST);
        assert_eq!(header.page_address, Lsn::new(0x0100_0000));
        assert_eq!((header.segment_size, header.block_size), (SegmentSize::DEFAULT, 8192));
        assert_eq!(header.check(&name, Some(header.system_id), SegmentSize::DEFAULT), Ok(()));
    }
}

#[test]
fn the_second_page_of_a_segment_has_a_short_header() {
    let pages = golden("15/first_pages");
    let first = PageHeader::parse(&pages).unwrap();
    assert_eq!(first.long.unwrap().system_id, SystemId::new(SYSTEM_15));
    let second = PageHeader::parse(&pages[8192..]).unwrap();
    assert_eq!(second.address, Lsn::new(0x0100_2000));
    assert_eq!((second.major, second.timeline, second.long), (PgMajor::V15, TimelineId::FIRST, None));
    assert!(SegmentHeader::parse(&pages[8192..]).is_err());
}

/// What `pg_controldata` said of the cluster of 15.
const SYSTEM_15: u64 = 7_710_327_062_147_215_790;

#[test]
fn the_first_segment_of_a_new_timeline_begins_with_its_parents_pages() {
    let name: SegmentName = "000000020000000000000003".parse().unwrap();
    for major in [15, 19] {
        let header = SegmentHeader::parse(&golden(&format!("{major}/ancestor_segment_header"))).unwrap();
        assert_eq!(header.timeline, TimelineId::FIRST);
        assert_eq!(header.check(&name, None, SegmentSize::DEFAULT), Ok(()));
    }
}

#[test]
fn segments_of_each_version_are_read_as_pg_waldump_reads_them() {
    for major in [13, 15, 16, 17, 18, 19] {
        let judged = waldump::parse(&String::from_utf8(golden(&format!("{major}/segment.waldump"))).unwrap());
        let kinds = [
            "RESTORE_POINT",
            "COMMIT ",
            "ABORT ",
            "PREPARE",
            "COMMIT_PREPARED",
            "TRUNCATE ",
            "SWITCH",
            "CHECKPOINT_ONLINE",
        ];
        for kind in kinds {
            assert!(waldump::count(&judged, kind) > 0, "no {kind} of {major}");
        }
        waldump::compare(&waldump::read_segment(&golden(&format!("{major}/segment")), TimelineId::FIRST), &judged);
    }
}
