//! Two neighbours, one of which was read without the other.

use super::*;

/// The states that each segment ends with when all are read in order, and what each leaves open when it is read alone.
fn borders(wal: &WalBuilder, segments: &[&[u8]]) -> (Vec<BorderState>, Vec<Unproven>) {
    let mut onward = reader(wal, Source::Complete);
    let (mut states, mut alone) = (Vec::new(), Vec::new());
    let mut start = wal.start();
    for segment in segments {
        read(&mut onward, segment);
        states.extend(onward.border_state());
        let mut reader = RecordReader::new(start, TimelineId::FIRST, SIZE, Source::Complete);
        read(&mut reader, segment);
        alone.push(reader.unproven().clone());
        start = start.checked_add(SIZE.bytes()).unwrap();
    }
    (states, alone)
}

#[test]
fn neighbours_are_proven_in_either_order() {
    for (head, rest) in [(8, 24), (16, 24), (24, 24), (32, 1), (16, 16), (8, 5000), (16, 60_000), (2000, 8), (0, 0)] {
        let mut wal = wal(8192);
        match head {
            0 => wal.fill(),
            _ => _ = wal.cross_with_head(head, rest),
        }
        wal.message(100);
        wal.switch();
        let (states, alone) = borders(&wal, &wal.segments());
        assert_eq!(states[0].prove(&alone[1]), Ok(Proof::Complete), "{head} {rest}");
    }
}

#[test]
fn a_segment_behind_a_replaced_record_is_proven() {
    let mut wal = wal(8192);
    while wal.bytes().len() < (SIZE.bytes() - 5000) as usize {
        wal.message(1000);
    }
    wal.lose_rest_of_record();
    wal.switch();
    let (states, alone) = borders(&wal, &wal.segments());
    assert!(matches!(states[0].pending, Pending::Record { .. }));
    assert_eq!(states[0].prove(&alone[1]), Ok(Proof::Complete));
}

#[test]
fn a_segment_within_one_record_proves_nothing_by_itself() {
    let mut wal = wal(8192);
    wal.cross(2 << 20);
    wal.switch();
    let (states, alone) = borders(&wal, &wal.segments());
    assert_eq!(states[0].prove(&alone[1]), Ok(Proof::Partial));
    assert_eq!(BorderState::unknown(wal.start(), SIZE).prove(&alone[0]), Ok(Proof::Partial));
}

#[test]
fn a_neighbour_from_elsewhere_is_not_proven() {
    let prove = |before: &dyn Fn(&mut WalBuilder), behind: &dyn Fn(&mut WalBuilder)| {
        let [mut one, mut two] = [wal(8192), wal(8192)];
        before(&mut one);
        behind(&mut two);
        one.switch();
        two.switch();
        let (states, _) = borders(&one, &one.segments());
        let (_, alone) = borders(&two, &two.segments());
        states[0].prove(&alone[1]).unwrap_err().kind
    };
    let crossing = |wal: &mut WalBuilder| _ = wal.cross(500);
    let crossing_more = |wal: &mut WalBuilder| _ = wal.cross(600);
    let whole = |wal: &mut WalBuilder| wal.fill();
    let other = |wal: &mut WalBuilder| {
        wal.message(40);
        wal.cross(500);
    };
    let switched = |wal: &mut WalBuilder| _ = wal.switch();
    assert_eq!(prove(&crossing, &crossing_more), DamageKind::Contrecord { expected: 500, found: 600 });
    assert_eq!(prove(&crossing, &whole), DamageKind::Contrecord { expected: 500, found: 0 });
    assert_eq!(prove(&whole, &crossing), DamageKind::UnexpectedContrecord { found: 500 });
    assert!(matches!(prove(&crossing, &other), DamageKind::RecordChecksum { .. }));
    assert!(matches!(prove(&whole, &switched), DamageKind::PrevLink { .. }));
}
