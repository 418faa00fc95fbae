//! Neighbours that are read one by one, and judged in any order.

use super::*;

/// What each segment leaves open when it is read alone.
fn alone(wal: &WalBuilder, segments: &[&[u8]], walk: Walk) -> Vec<Stretch> {
    let mut start = wal.start();
    let read_one = |segment: &&[u8]| {
        let mut reader = RecordReader::new(start, TimelineId::FIRST, SIZE, Source::Complete).with_walk(walk);
        read(&mut reader, segment);
        start = reader.position();
        reader.stretch().unwrap()
    };
    segments.iter().map(read_one).collect()
}

/// What one reader of everything leaves open.
fn at_once(wal: &WalBuilder, walk: Walk) -> Stretch {
    let mut reader = reader(wal, Source::Complete).with_walk(walk);
    assert_eq!(damages(&read(&mut reader, wal.bytes())), []);
    reader.stretch().unwrap()
}

fn join_from_left(stretches: &[Stretch]) -> Result<Stretch, JoinError> {
    let (first, others) = stretches.split_first().unwrap();
    others.iter().cloned().try_fold(first.clone(), Stretch::join)
}

fn join_from_right(stretches: &[Stretch]) -> Result<Stretch, JoinError> {
    let (last, others) = stretches.split_last().unwrap();
    others.iter().cloned().rev().try_fold(last.clone(), |behind, before| before.join(behind))
}

/// One way to cross a border.
fn border() -> impl Strategy<Value = (usize, usize)> {
    let rest = prop_oneof![Just(24), 24..60usize, 1000..60_000usize, Just(3 << 20), SIZE_ROOM - 100..SIZE_ROOM + 100];
    ((0..6usize).prop_map(|words| words * 8), rest)
}

/// How many bytes of a record a segment has room for.
const SIZE_ROOM: usize = (1 << 20) - 40 - 127 * 24;

fn crossing(borders: &[(usize, usize)]) -> WalBuilder {
    let mut wal = wal(8192);
    for &(head, rest) in borders {
        // Away from the border before it.
        wal.message(2000);
        match head {
            0 => _ = wal.cross(rest),
            _ => _ = wal.cross_with_head(head, rest),
        }
    }
    wal.switch();
    wal
}

#[test]
fn a_segment_within_one_record_is_judged_by_its_neighbours() {
    for rest in [2 << 20, SIZE_ROOM, SIZE_ROOM + 1] {
        let wal = crossing(&[(0, rest)]);
        let stretches = alone(&wal, &wal.segments(), Walk::WHOLE);
        assert!(stretches.len() >= 3, "{rest}");
        assert_eq!(join_from_left(&stretches), Ok(at_once(&wal, Walk::CHECKED)), "{rest}");
        assert_eq!(join_from_right(&stretches), Ok(at_once(&wal, Walk::CHECKED)), "{rest}");
    }
}

#[test]
fn a_replaced_record_joins_what_is_before_and_behind_it() {
    let mut wal = wal(8192);
    while wal.bytes().len() < (SIZE.bytes() - 5000) as usize {
        wal.message(1000);
    }
    wal.lose_rest_of_record();
    wal.cross(100);
    wal.switch();
    let stretches = alone(&wal, &wal.segments(), Walk::WHOLE);
    assert_eq!(join_from_left(&stretches), Ok(at_once(&wal, Walk::CHECKED)));
    assert_eq!(join_from_right(&stretches), Ok(at_once(&wal, Walk::CHECKED)));
}

/// A border can divide the record that ends its segment: the zeros behind its last bytes are no damage to a reader that
/// did not see its first.
#[test]
fn a_switch_record_that_a_border_divides_ends_the_segment_behind_it() {
    for head in [8, 16] {
        let mut wal = wal(8192);
        wal.cross(0);
        let left = |wal: &WalBuilder| (2 * SIZE.bytes()) as usize - wal.bytes().len();
        while left(&wal) > 9000 {
            wal.message(1000);
        }
        wal.message(left(&wal) - if left(&wal) > 8192 { 24 } else { 0 } - head);
        let switch = wal.switch();
        wal.message(100);
        wal.switch();
        assert_eq!(SIZE.bytes() - wal.offset(switch) as u64 % SIZE.bytes(), head as u64);
        let stretches = alone(&wal, &wal.segments(), Walk::WHOLE);
        assert_eq!(join_from_left(&stretches), Ok(at_once(&wal, Walk::CHECKED)));
        assert_eq!(join_from_right(&stretches), Ok(at_once(&wal, Walk::CHECKED)));
    }
}

#[test]
fn stretches_that_are_apart_are_not_joined() {
    let wal = crossing(&[(0, 24), (0, 24)]);
    let [first, _, third]: [Stretch; 3] = alone(&wal, &wal.segments(), Walk::CHECKED).try_into().unwrap();
    let (end, start) = (first.end().at, third.start());
    assert_eq!(first.join(third), Err(JoinError::Apart { end, start }));
}

#[test]
fn a_neighbour_that_another_one_cannot_follow_is_damage() {
    let [one, other] = [crossing(&[(0, 3 << 20)]), crossing(&[(0, (3 << 20) + 8)])];
    let [ours, theirs] = [&one, &other].map(|wal| alone(wal, &wal.segments(), Walk::CHECKED));
    for at in 1..3 {
        let mixed = [&ours[..at], &theirs[at..]].concat();
        let border = ours[at].start();
        for joined in [join_from_left(&mixed), join_from_right(&mixed)] {
            let Err(JoinError::Damage(Damage { at, kind: DamageKind::Contrecord { .. }, .. })) = joined else {
                panic!("{joined:?}")
            };
            assert_eq!(at, border);
        }
    }
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 10))]

    #[test]
    fn joined_in_any_order_they_are_what_one_reader_finds(
        borders in prop::collection::vec(border(), 1..4),
        walk in prop::sample::select(vec![Walk::WHOLE, Walk::CHECKED, Walk::HEADERS]),
    ) {
        let wal = crossing(&borders);
        let stretches = alone(&wal, &wal.segments(), walk);
        let expected = at_once(&wal, if walk.checksums { Walk::CHECKED } else { walk });
        prop_assert_eq!(join_from_left(&stretches), Ok(expected.clone()));
        prop_assert_eq!(join_from_right(&stretches), Ok(expected));
    }

    #[test]
    fn a_flipped_bit_in_a_record_of_many_segments_is_noticed_when_they_are_joined(
        at: prop::sample::Index,
        bit in 0..8,
    ) {
        let wal = crossing(&[(16, 3 << 20)]);
        let mut bytes = wal.bytes().to_vec();
        // A byte of the record, from its beginning to its end, past the headers of pages.
        let start = wal.offset(wal.previous()) - (3 << 20);
        let at = start + at.index(3 << 20);
        prop_assume!(at % 8192 >= 40);
        bytes[at] ^= 1u8 << bit;
        let segments: Vec<&[u8]> = bytes.chunks(SIZE.bytes() as usize).collect();
        let noticed = !damages(&judge(&wal, &bytes)).is_empty();
        prop_assert!(noticed);
        let stretches = alone(&wal, &segments, Walk::CHECKED);
        let alone = stretches.iter().any(|stretch| stretch.end().damaged_since.is_some());
        prop_assert!(alone || join_from_left(&stretches).is_err(), "{at}");
        prop_assert!(alone || join_from_right(&stretches).is_err(), "{at}");
    }
}
