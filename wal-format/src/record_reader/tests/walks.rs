//! What each walk looks at.

use super::*;

/// Heads of what was seen: the same in every walk.
fn passed(wal: &WalBuilder, walk: Walk, sizes: &[usize]) -> Vec<(Lsn, Lsn)> {
    let mut reader = reader(wal, Source::Complete).with_walk(walk);
    let seen = read_chunks(&mut reader, wal.bytes(), sizes);
    let place = |seen: &Seen| match seen {
        Seen::Record { start, end, .. } | Seen::Passed(Passed { start, end, .. }) => (*start, *end),
        other => panic!("{other:?}"),
    };
    seen.iter().map(place).collect()
}

#[test]
fn every_walk_finds_the_same_records() {
    for block_size in [1 << 10, 1 << 13, 1 << 16] {
        let (mut wal, _) = varied(block_size);
        wal.lose_rest_of_record();
        wal.cross(3000);
        wal.switch();
        let whole = passed(&wal, Walk::WHOLE, &[usize::MAX]);
        for walk in [Walk::CHECKED, Walk::HEADERS] {
            for sizes in [&[usize::MAX][..], &[1000, 7, 3], &[64]] {
                assert_eq!(passed(&wal, walk, sizes), whole, "{block_size} {walk:?}");
            }
        }
    }
}

#[test]
fn visits_show_what_is_returned_one_by_one() {
    let (mut wal, expected) = varied(1024);
    wal.switch();
    let mut damaged = wal.bytes().to_vec();
    damaged[wal.offset(expected[200]) + 30] ^= 1;
    for (bytes, source) in [(wal.bytes(), Source::Complete), (&damaged, Source::Complete), (&damaged, Source::Open)] {
        for walk in [Walk::WHOLE, Walk::CHECKED] {
            let returned = read(&mut reader(&wal, source).with_walk(walk), bytes);
            let mut reader = reader(&wal, source).with_walk(walk);
            let (mut input, mut visited) = (bytes, Vec::new());
            while let Err(damage) = reader.for_each(&mut input, &mut |item: Item<'_>| visited.push(own(item))) {
                visited.push(Seen::Damage(damage));
            }
            assert_eq!(visited, returned);
        }
    }
}

#[test]
fn only_what_is_wanted_is_handed_out_whole() {
    let wanted = ResourceManager::TRANSACTION;
    let mut wal = wal(1024);
    wal.message(5000);
    wal.record(wanted, 0, &[7; 5000]);
    wal.message(100);
    wal.record(wanted, 0, &[7; 50]);
    let walk = Walk { wanted: |header| header.manager == ResourceManager::TRANSACTION, ..Walk::CHECKED };
    let seen = read(&mut reader(&wal, Source::Open).with_walk(walk), wal.bytes());
    let lens = seen.iter().map(|seen| if let Seen::Record { bytes, .. } = seen { bytes.len() } else { 0 });
    assert_eq!(lens.collect::<Vec<_>>(), [0, 24 + 5 + 5000, 0, 24 + 2 + 50]);
}

#[test]
fn no_contents_are_kept_that_nobody_wants() {
    let mut wal = wal(8192);
    wal.cross(500_000);
    for walk in [Walk::CHECKED, Walk::HEADERS] {
        let mut reader = reader(&wal, Source::Complete).with_walk(walk);
        read(&mut reader, wal.segments()[0]);
        let Some(BorderState { pending: Pending::Begun(record), .. }) = reader.border_state() else { panic!() };
        assert_eq!((record.head.len(), record.start), (24, wal.previous()));
        assert_eq!(record.body.is_some(), walk.checksums);
    }
}

#[test]
fn a_changed_byte_is_noticed_by_the_walks_that_compute_checksums() {
    let mut wal = wal(8192);
    wal.message(100);
    let target = wal.message(20_000);
    wal.message(100);
    wal.switch();
    let mut bytes = wal.bytes().to_vec();
    bytes[wal.offset(target) + 9000] ^= 1;
    let damages = |walk| damages(&read(&mut reader(&wal, Source::Complete).with_walk(walk), &bytes));
    for walk in [Walk::WHOLE, Walk::CHECKED] {
        let [Damage { at, kind: DamageKind::RecordChecksum { .. }, .. }] = damages(walk)[..] else {
            panic!("{walk:?}")
        };
        assert_eq!(at, target);
    }
    assert_eq!(damages(Walk::HEADERS), []);
}

#[test]
fn each_walk_follows_lengths_and_links() {
    let mut wal = wal(8192);
    wal.message(100);
    let target = wal.message(100);
    wal.message(100);
    wal.switch();
    for (field, is_expected) in [
        (0, (|kind| matches!(kind, DamageKind::RecordLength { .. })) as fn(&DamageKind) -> bool),
        (8, |kind| matches!(kind, DamageKind::PrevLink { .. })),
        (17, |kind| matches!(kind, DamageKind::ResourceManager { .. })),
    ] {
        let mut bytes = wal.bytes().to_vec();
        let at = wal.offset(target) + field;
        bytes[at..at + 3].fill(if field == 0 { 0 } else { 99 });
        let seen = read(&mut reader(&wal, Source::Complete).with_walk(Walk::HEADERS), &bytes);
        let damage = damages(&seen)[0];
        assert!(damage.at == target && is_expected(&damage.kind), "{damage:?}");
    }
}

/// Otherwise whatever looks like a header would be believed there.
#[test]
fn after_damage_even_a_header_walk_computes_checksums_until_one_is_right() {
    let mut wal = wal(8192);
    let first = wal.message(8000);
    let lost = wal.message(200);
    let forged = wal.message(100);
    let next = wal.message(100);
    wal.switch();
    let mut bytes = wal.bytes().to_vec();
    bytes[wal.offset(lost)] = 0;
    bytes[wal.offset(forged) + 50] ^= 1;
    let seen = read(&mut reader(&wal, Source::Complete).with_walk(Walk::HEADERS), &bytes);
    assert_eq!(starts(&seen)[..2], [first, next]);
    assert_eq!(skipped(&seen), [lost..next]);
}
