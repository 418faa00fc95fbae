//! Synthetic WAL, and what is done to it.

mod borders;
mod damage;
mod stretches;
mod walks;

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::ResourceManager;
use crate::testing::WalBuilder;

const SIZE: SegmentSize = match SegmentSize::new(1 << 20) {
    Some(size) => size,
    None => unreachable!(),
};

/// An item that borrows nothing.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Record { start: Lsn, end: Lsn, bytes: Vec<u8> },
    Passed(Passed),
    Skipped(Range<Lsn>),
    End(End),
    Damage(Damage),
}

fn wal(block_size: u32) -> WalBuilder {
    WalBuilder::new(WalBuilder::layout(SIZE, block_size))
}

fn reader(wal: &WalBuilder, source: Source) -> RecordReader {
    RecordReader::new(wal.start(), TimelineId::FIRST, SIZE, source)
}

/// Reads `bytes` in chunks of the given sizes, again and again.
fn read_chunks(reader: &mut RecordReader, mut bytes: &[u8], sizes: &[usize]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut sizes = sizes.iter().cycle();
    while !bytes.is_empty() {
        let (mut chunk, rest) = bytes.split_at((*sizes.next().unwrap()).min(bytes.len()));
        while let Some(item) = reader.next(&mut chunk).map_err(Seen::Damage).map_or_else(Some, |item| item.map(own)) {
            let ended = matches!(item, Seen::End(_));
            seen.push(item);
            if ended {
                return seen;
            }
        }
        assert!(chunk.is_empty());
        bytes = rest;
    }
    seen
}

fn own(item: Item<'_>) -> Seen {
    match item {
        Item::Record(record) => Seen::Record { start: record.start, end: record.end, bytes: record.bytes().to_vec() },
        Item::Passed(passed) => Seen::Passed(passed),
        Item::Skipped(range) => Seen::Skipped(range),
        Item::End(end) => Seen::End(end),
    }
}

fn read(reader: &mut RecordReader, bytes: &[u8]) -> Vec<Seen> {
    read_chunks(reader, bytes, &[usize::MAX])
}

/// Reads a complete source to its end; a missing end is damage too.
fn judge(wal: &WalBuilder, bytes: &[u8]) -> Vec<Seen> {
    let mut reader = reader(wal, Source::Complete);
    let mut seen = read(&mut reader, bytes);
    seen.extend(reader.finish().err().map(Seen::Damage));
    seen
}

fn starts(seen: &[Seen]) -> Vec<Lsn> {
    let start = |seen: &Seen| match seen {
        Seen::Record { start, .. } | Seen::Passed(Passed { start, .. }) => Some(*start),
        _ => None,
    };
    seen.iter().filter_map(start).collect()
}

fn damages(seen: &[Seen]) -> Vec<Damage> {
    let damage = |seen: &Seen| match seen {
        Seen::Damage(damage) => Some(*damage),
        _ => None,
    };
    seen.iter().filter_map(damage).collect()
}

fn skipped(seen: &[Seen]) -> Vec<Range<Lsn>> {
    let range = |seen: &Seen| match seen {
        Seen::Skipped(range) => Some(range.clone()),
        _ => None,
    };
    seen.iter().filter_map(range).collect()
}

/// Records of many lengths, so that pages divide them, and their headers, in every way.
fn varied(block_size: u32) -> (WalBuilder, Vec<Lsn>) {
    let mut wal = wal(block_size);
    let mut expected = Vec::new();
    for i in 0..400 {
        expected.push(wal.message(32 + i * 7 % 300));
        if i % 50 == 0 {
            expected.push(wal.message(3 * block_size as usize + i));
        }
    }
    (wal, expected)
}

#[test]
fn records_are_found_on_pages_of_every_size() {
    for block_size in [1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16] {
        let (wal, expected) = varied(block_size);
        let seen = read(&mut reader(&wal, Source::Open), wal.bytes());
        assert_eq!(starts(&seen), expected, "{block_size}");
        assert_eq!(seen.len(), expected.len(), "{block_size}");
        for pair in seen.windows(2) {
            let [Seen::Record { end, .. }, Seen::Record { start, .. }] = pair else { panic!("{pair:?}") };
            // A page's header may lie between them.
            assert!(start.bytes_since(*end).is_some_and(|gap| gap <= 24), "{pair:?}");
        }
    }
}

#[test]
fn segments_of_every_size_are_read() {
    for megabytes in (0..=10).map(|bits| 1u64 << bits) {
        let size = SegmentSize::new(megabytes << 20).unwrap();
        let mut wal = WalBuilder::new(WalBuilder::layout(size, 8192));
        let expected = [wal.message(100), wal.message(20_000)];
        let mut reader = RecordReader::new(wal.start(), TimelineId::FIRST, size, Source::Complete);
        assert_eq!(starts(&read(&mut reader, wal.bytes())), expected, "{megabytes} MB");
        // Only the segment that was announced is believed.
        let other = SegmentSize::new(if megabytes == 1 { 2 << 20 } else { megabytes << 19 }).unwrap();
        let mut reader = RecordReader::new(wal.start(), TimelineId::FIRST, other, Source::Complete);
        let kind = damages(&read(&mut reader, wal.bytes()))[0].kind;
        assert_eq!(kind, DamageKind::SegmentSize { expected: other, found: size }, "{megabytes} MB");
    }
}

#[test]
fn a_record_within_a_page_is_borrowed_from_the_input() {
    let mut wal = wal(8192);
    wal.message(100);
    let mut input = wal.bytes();
    let mut reader = reader(&wal, Source::Open);
    let Ok(Some(Item::Record(record))) = reader.next(&mut input) else { panic!() };
    assert_eq!(record.bytes().as_ptr(), wal.bytes()[40..].as_ptr());
}

#[test]
fn a_segment_ends_at_its_border_or_with_a_switch() {
    let mut filled = wal(8192);
    filled.fill();
    let mut switched = wal(8192);
    switched.message(100);
    switched.switch();
    for wal in [filled, switched] {
        assert_eq!(damages(&judge(&wal, wal.bytes())), []);
        assert_eq!(wal.bytes().len() as u64, SIZE.bytes());
    }
}

#[test]
fn a_switch_record_ends_where_its_segment_does() {
    let mut wal = wal(8192);
    let switch = wal.switch();
    let next = wal.message(100);
    let seen = read(&mut reader(&wal, Source::Complete), wal.bytes());
    let Seen::Record { start, end, .. } = &seen[0] else { panic!() };
    assert_eq!((*start, end.as_u64()), (switch, wal.start().as_u64() + SIZE.bytes()));
    assert_eq!(starts(&seen), [switch, next]);
}

#[test]
fn a_switch_that_just_fits_ends_nothing_else() {
    let mut wal = wal(8192);
    while wal.bytes().len() < (SIZE.bytes() - 8192 + 24) as usize {
        wal.message(8192 - 24);
    }
    let left = SIZE.bytes() as usize - wal.bytes().len();
    wal.message(left - 24);
    let switch = wal.switch();
    assert_eq!(wal.end().bytes_since(switch), Some(24));
    let next = wal.message(100);
    let seen = judge(&wal, wal.bytes());
    assert_eq!(starts(&seen)[starts(&seen).len() - 2..], [switch, next]);
}

#[test]
fn an_open_source_ends_with_its_first_unbelievable_record() {
    let (wal, expected) = varied(8192);
    let mut recycled = wal.clone();
    recycled.fill();
    // What lay in the file before: the same kind of WAL, a segment earlier.
    let mut bytes = recycled.bytes().to_vec();
    let end = wal.bytes().len();
    for page in (end.next_multiple_of(8192)..bytes.len()).step_by(8192) {
        let address = wal.start().as_u64() - SIZE.bytes() + page as u64;
        bytes[page + 8..page + 16].copy_from_slice(&address.to_ne_bytes());
    }
    bytes[end..end + 24].fill(0x55);
    let seen = read(&mut reader(&wal, Source::Open), &bytes);
    assert_eq!(starts(&seen), expected);
    let Some(Seen::End(end)) = seen.last() else { panic!() };
    assert_eq!(end.at, wal.end());
    bytes[wal.bytes().len()..].fill(0);
    let seen = read(&mut reader(&wal, Source::Open), &bytes);
    let zeros = End { at: wal.end(), reason: DamageKind::RecordLength { found: 0 } };
    assert_eq!(seen.last(), Some(&Seen::End(zeros)));
}

#[test]
fn an_ended_reader_stays_at_the_end() {
    let mut wal = wal(8192);
    wal.message(100);
    let mut reader = reader(&wal, Source::Open);
    read(&mut reader, wal.bytes());
    let mut zeros: &[u8] = &[0; 64];
    let Ok(Some(Item::End(first))) = reader.next(&mut zeros) else { panic!() };
    let mut more = wal.bytes();
    assert_eq!(reader.next(&mut more), Ok(Some(Item::End(first))));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn a_record_that_a_crash_cut_short_is_replaced() {
    let mut wal = wal(8192);
    let mut expected = vec![wal.message(100)];
    let lost = wal.lose_rest_of_record();
    expected.push(wal.previous());
    expected.push(wal.message(100));
    let seen = read(&mut reader(&wal, Source::Complete), wal.bytes());
    assert_eq!(starts(&seen), expected);
    assert_eq!(seen.len(), 3);
    assert!(!expected.contains(&lost));
}

#[test]
fn a_replacement_names_what_it_replaces() {
    let mut wal = wal(8192);
    wal.message(100);
    let lost = wal.lose_rest_of_record();
    let replacement = wal.offset(wal.previous());
    // Any other record there, made believable.
    let mut bytes = wal.bytes()[..replacement].to_vec();
    let mut other = wal.clone();
    other.record(ResourceManager::XLOG, 0x20, &[0; 16]);
    let prev = wal.bytes()[replacement + 8..replacement + 16].to_vec();
    let mut noop = other.bytes()[other.offset(other.previous())..].to_vec();
    noop[8..16].copy_from_slice(&prev);
    let crc = partial::checksum(&noop[..42]);
    noop[20..24].copy_from_slice(&crc.to_ne_bytes());
    bytes.extend(noop);
    let seen = read(&mut reader(&wal, Source::Complete), &bytes);
    assert_eq!(damages(&seen)[0].kind, DamageKind::Overwrite { overwritten: lost });
}

#[test]
fn a_log_begins_with_a_shutdown_checkpoint_that_follows_nothing() {
    let begin = |manager, info| {
        let mut wal = wal(8192);
        wal.forget_previous();
        wal.record(manager, info, &[0; 80]);
        wal.message(100);
        damages(&read(&mut reader(&wal, Source::Complete), wal.bytes())).first().map(|damage| damage.kind)
    };
    assert_eq!(begin(ResourceManager::XLOG, 0x00), None);
    assert_eq!(begin(ResourceManager::XLOG, 0x10), Some(DamageKind::PrevLinkAhead { found: Lsn::new(0) }));
    assert_eq!(begin(ResourceManager::HEAP, 0x00), Some(DamageKind::PrevLinkAhead { found: Lsn::new(0) }));
}

#[test]
fn a_reset_log_begins_anew_behind_a_segment() {
    let mut wal = wal(8192);
    wal.switch();
    wal.forget_previous();
    wal.record(ResourceManager::XLOG, 0x00, &[0; 80]);
    assert_eq!(damages(&read(&mut reader(&wal, Source::Complete), wal.bytes())), []);
}

#[test]
fn pages_of_an_ancestor_come_first() {
    let timeline = |number| TimelineId::new(number).unwrap();
    let mut wal = wal(8192);
    wal.message(10_000);
    wal.set_timeline(timeline(3));
    wal.message(10_000);
    let read_as = |number| {
        let mut reader = RecordReader::new(wal.start(), timeline(number), SIZE, Source::Complete);
        damages(&read(&mut reader, wal.bytes()))
    };
    assert_eq!(read_as(3), []);
    assert_eq!(read_as(4), []);
    let DamageKind::PageTimeline { to, found, .. } = read_as(2)[0].kind else { panic!() };
    assert_eq!((to, found), (timeline(2), timeline(3)));
    wal.set_timeline(timeline(2));
    wal.message(10_000);
    let mut reader = RecordReader::new(wal.start(), timeline(3), SIZE, Source::Complete);
    let kind = damages(&read(&mut reader, wal.bytes()))[0].kind;
    assert_eq!(kind, DamageKind::PageTimeline { from: timeline(3), to: timeline(3), found: timeline(2) });
}

#[test]
fn a_wrong_checksum_costs_one_record() {
    let mut wal = wal(8192);
    let before = wal.message(100);
    let bad = wal.message(200);
    let after = wal.message(100);
    let mut bytes = wal.bytes().to_vec();
    bytes[wal.offset(bad) + 150] ^= 1;
    let seen = read(&mut reader(&wal, Source::Complete), &bytes);
    assert_eq!(starts(&seen), [before, after]);
    assert_eq!(damages(&seen)[0].at, bad);
    assert_eq!(skipped(&seen), [bad..after]);
}

#[test]
fn damage_to_a_page_header_costs_what_touches_the_page() {
    let mut wal = wal(8192);
    let before = wal.message(8000);
    let across = wal.message(8000);
    let after = wal.message(9000);
    let next = wal.message(100);
    let mut bytes = wal.bytes().to_vec();
    bytes[8192] ^= 1;
    let seen = read(&mut reader(&wal, Source::Complete), &bytes);
    assert_eq!(starts(&seen), [before, next]);
    assert_eq!(damages(&seen).len(), 1);
    assert_eq!(damages(&seen)[0].at, Lsn::new(wal.start().as_u64() + 8192));
    assert_eq!(skipped(&seen), [across..next]);
    assert!(after > across);
}

#[test]
fn damage_at_the_very_beginning_does_not_hide_the_rest() {
    let (wal, expected) = varied(8192);
    let mut bytes = wal.bytes().to_vec();
    bytes[..40].fill(0);
    let seen = read(&mut reader(&wal, Source::Complete), &bytes);
    assert_eq!(damages(&seen).len(), 1);
    let found = starts(&seen);
    assert!(found.len() > expected.len() / 2);
    assert!(expected.ends_with(&found));
}

#[test]
fn a_reader_goes_on_where_another_stopped() {
    let mut wal = wal(8192);
    wal.cross(5000);
    wal.cross(0);
    wal.cross(3 << 20);
    wal.switch();
    let whole = read(&mut reader(&wal, Source::Complete), wal.bytes());
    let mut state = BorderState::unknown(wal.start(), SIZE);
    let mut pieces = Vec::new();
    for segment in wal.segments() {
        let mut reader = RecordReader::resume(state, TimelineId::FIRST, Source::Complete);
        pieces.extend(read(&mut reader, segment));
        state = reader.border_state().unwrap();
    }
    assert_eq!(pieces, whole);
}

#[test]
fn a_source_that_ends_within_a_record_is_cut_where_the_record_begins() {
    let mut wal = wal(8192);
    wal.message(100);
    let across = wal.message(20_000);
    let border = Lsn::new(wal.start().as_u64() + SIZE.bytes());
    for len in [5000, 8192, 8200] {
        let mut reader = reader(&wal, Source::Complete);
        read(&mut reader, &wal.bytes()[..len]);
        let damage = reader.finish().unwrap_err();
        assert_eq!((damage.at, damage.kind), (across, DamageKind::Truncated { border }), "{len}");
    }
}

/// Two whole segments, the second of which ended early, and a record to aim at.
fn sound() -> (WalBuilder, Lsn) {
    let mut wal = wal(8192);
    wal.message(100);
    let target = wal.message(20_000);
    wal.fill();
    wal.message(100);
    wal.switch();
    (wal, target)
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn chunks_never_change_what_is_read(
        sizes in prop::collection::vec(1..3000usize, 1..20),
        block_size in prop::sample::select(vec![1024u32, 8192]),
        damage in prop::option::of((any::<prop::sample::Index>(), 1..=255u8)),
        source in prop::sample::select(vec![Source::Complete, Source::Open]),
    ) {
        let (wal, _) = varied(block_size);
        let mut bytes = wal.bytes().to_vec();
        if let Some((at, flip)) = damage {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let (mut at_once, mut in_chunks) = (reader(&wal, source), reader(&wal, source));
        let expected = read(&mut at_once, &bytes);
        prop_assert_eq!(read_chunks(&mut in_chunks, &bytes, &sizes), expected);
        prop_assert_eq!(at_once.finish(), in_chunks.finish());
        prop_assert_eq!(at_once.unproven(), in_chunks.unproven());
    }

    #[test]
    fn a_flipped_bit_inside_a_record_is_noticed(record: prop::sample::Index, byte: prop::sample::Index, bit in 0..8) {
        let (wal, target) = sound();
        let seen = judge(&wal, wal.bytes());
        let starts = starts(&seen);
        let start = if record.index(3) == 0 { target } else { starts[record.index(starts.len())] };
        let content_len = seen.iter().find_map(|seen| match seen {
            Seen::Record { start: found, bytes, .. } if *found == start => Some(bytes.len()),
            _ => None,
        });
        // The record's own bytes, past the headers of pages.
        let mut at = wal.offset(start);
        for _ in 0..byte.index(content_len.unwrap()) {
            at += 1;
            if at % 8192 == 0 {
                at += if (at as u64).is_multiple_of(SIZE.bytes()) { 40 } else { 24 };
            }
        }
        let mut bytes = wal.bytes().to_vec();
        bytes[at] ^= 1u8 << bit;
        prop_assert!(!damages(&judge(&wal, &bytes)).is_empty(), "byte {}", at);
    }

    #[test]
    fn a_flipped_bit_in_what_the_next_segment_completes_is_noticed(
        head in (1..40usize).prop_map(|words| words * 8),
        rest in 32..20_000usize,
        byte: prop::sample::Index,
        bit in 0..8,
    ) {
        let mut wal = wal(8192);
        let start = wal.cross_with_head(head, rest);
        wal.message(100);
        wal.switch();
        let border = SIZE.bytes() as usize;
        let from_border = byte.index(rest.min(8000));
        for at in [wal.offset(start) + byte.index(head), border + 40 + from_border] {
            let mut bytes = wal.bytes().to_vec();
            bytes[at] ^= 1u8 << bit;
            let (first, second) = bytes.split_at(border);
            let mut before = reader(&wal, Source::Complete);
            let noticed_before = !damages(&read(&mut before, first)).is_empty();
            let mut behind =
                RecordReader::new(Lsn::new(wal.start().as_u64() + SIZE.bytes()), TimelineId::FIRST, SIZE, Source::Complete);
            let noticed_behind = !damages(&read(&mut behind, second)).is_empty();
            let proof = before.border_state().unwrap().prove(behind.unproven());
            prop_assert!(noticed_before || noticed_behind || proof.is_err(), "byte {at}: {proof:?}");
        }
    }

    #[test]
    fn no_bytes_panic_or_loop(
        noise in prop::collection::vec(any::<u8>(), 0..600),
        at: prop::sample::Index,
        source in prop::sample::select(vec![Source::Complete, Source::Open]),
    ) {
        let (wal, _) = varied(1024);
        let mut bytes = wal.bytes().to_vec();
        let at = at.index(bytes.len() - noise.len());
        bytes[at..at + noise.len()].copy_from_slice(&noise);
        let seen = read(&mut reader(&wal, source), &bytes);
        prop_assert!(seen.len() <= bytes.len());
        let _ = read(&mut reader(&wal, source), &noise);
    }
}
