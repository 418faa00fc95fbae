//! WAL: how it is cut into pieces changes nothing, in no walk, and records come in order, each within the bytes that were
//! read. A walk that wants no contents finds the same records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{Item, Lsn, Pages, RecordReader, SegmentHeader, SegmentSize, Source, TimelineId, Walk};

// The first byte says how long the pieces are.
fuzz_target!(|input: &[u8]| {
    let Some((&piece, wal)) = input.split_first() else { return };
    for source in [Source::Open, Source::Complete] {
        let [whole, checked, _] = [Walk::WHOLE, Walk::CHECKED, Walk::HEADERS].map(|walk| {
            let seen = read(wal, wal.len().max(1), source, walk);
            assert_eq!(read(wal, usize::from(piece) + 1, source, walk), seen);
            check_order(&seen, wal.len());
            seen
        });
        assert!(whole.iter().map(place).eq(checked.iter().map(place)));
    }
    if let Ok(pages) = Pages::of_segment(wal, TimelineId::FIRST) {
        pages.for_each(drop);
    }
});

/// Something that a reader came across: where it begins and ends, and all there is to say about it.
type Seen = (Lsn, Lsn, String);

fn place(seen: &Seen) -> (Lsn, Lsn) {
    (seen.0, seen.1)
}

fn read(wal: &[u8], piece: usize, source: Source, walk: Walk) -> Vec<Seen> {
    let header = SegmentHeader::parse(wal);
    let (start, size) = header
        .map_or((Lsn::new(0x100_0000), SegmentSize::DEFAULT), |header| (header.page_address, header.segment_size));
    let mut reader = RecordReader::new(start, TimelineId::FIRST, size, source).with_walk(walk);
    let mut seen = Vec::new();
    for mut piece in wal.chunks(piece) {
        loop {
            seen.push(match reader.next(&mut piece) {
                Ok(None) => break,
                Ok(Some(Item::Record(record))) => {
                    let meaning = format!("{:?} {:?} {:?}", record, record.contents(), record.decode());
                    (record.start, record.end, meaning)
                }
                Ok(Some(Item::Passed(passed))) => (passed.start, passed.end, format!("{passed:?}")),
                Ok(Some(Item::Skipped(range))) => (range.start, range.end, "skipped".to_owned()),
                // The reader stays there.
                Ok(Some(Item::End(end))) => {
                    seen.push((end.at, end.at, format!("{:?}", end.reason)));
                    return seen;
                }
                Err(damage) => (damage.at, damage.at, format!("{:?}", damage.kind)),
            });
        }
    }
    let left = format!("{:?} {:?}", reader.finish(), reader.border_state());
    seen.push((reader.position(), reader.position(), left));
    seen
}

fn check_order(seen: &[Seen], len: usize) {
    assert!(seen.iter().all(|(start, end, _)| start <= end), "{seen:?}");
    let items = seen.iter().filter(|(start, end, _)| start < end);
    assert!(items.clone().zip(items.skip(1)).all(|(before, after)| before.1 <= after.0), "{seen:?}");
    // A record has at least 24 bytes.
    assert!(seen.len() <= len / 8 + 2, "{seen:?}");
}
