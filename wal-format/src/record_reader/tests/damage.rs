//! Twelve kinds of damage.

use super::*;

/// Twelve kinds of damage, each found where it is.
#[test]
fn every_kind_of_damage_is_reported_where_it_is() {
    let page = |number: u64| Lsn::new(wal(8192).start().as_u64() + number * 8192);
    for (name, at, is_expected, damaged) in damage_table() {
        let seen = judge(&wal(8192), &damaged);
        let Some(damage) = damages(&seen).first().copied() else { panic!("{name}: not noticed") };
        assert!(is_expected(&damage.kind), "{name}: {damage:?}");
        match at {
            Place::Page(number) => assert_eq!(damage.at, page(number), "{name}"),
            Place::Record(lsn) => assert_eq!(damage.at, lsn, "{name}"),
        }
        assert!(alloc::format!("{damage}").contains(&alloc::format!("{}", damage.at)), "{name}");
    }
}

enum Place {
    Page(u64),
    Record(Lsn),
}

type Damaged = (&'static str, Place, fn(&DamageKind) -> bool, Vec<u8>);

fn damage_table() -> [Damaged; 12] {
    use DamageKind as K;
    let (wal, target) = sound();
    let bytes = wal.bytes();
    let segment = SIZE.bytes() as usize;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        bytes
    };
    let put = |at: usize, value: &[u8]| with(&|bytes: &mut Vec<u8>| bytes[at..at + value.len()].copy_from_slice(value));
    let at = wal.offset(target);
    let last = wal.offset(wal.previous());
    let stale = last + 4096;
    [
        ("bit flip", Place::Record(target), |k| matches!(k, K::RecordChecksum { .. }), with(&|b| b[at + 40] ^= 4)),
        ("hole", Place::Page(3), |k| matches!(k, K::PageAddress { .. }), with(&|b| drop(b.drain(3 * 8192..5 * 8192)))),
        ("truncation", Place::Record(target), |k| matches!(k, K::Truncated { .. }), with(&|b| b.truncate(at + 100))),
        ("swapped segments", Place::Page(0), |k| matches!(k, K::PageAddress { .. }), with(&|b| b.rotate_left(segment))),
        ("foreign system identifier", Place::Page(128), |k| matches!(k, K::System { .. }), put(segment + 24, &[9; 8])),
        // As a segment that was archived under the name of a later one.
        (
            "reused name",
            Place::Page(128),
            |k| matches!(k, K::PageAddress { .. }),
            with(&|b| b.copy_within(..segment, segment)),
        ),
        ("wrong page address", Place::Page(2), |k| matches!(k, K::PageAddress { .. }), put(2 * 8192 + 8, &[7; 8])),
        ("zeroed page", Place::Page(4), |k| matches!(k, K::PageHeader(_)), with(&|b| b[4 * 8192..5 * 8192].fill(0))),
        ("broken contrecord", Place::Page(1), |k| matches!(k, K::Contrecord { .. }), put(8192 + 16, &[1])),
        (
            "stale tail in a complete segment",
            Place::Record(Lsn::new(wal.start().as_u64() + stale as u64)),
            |k| matches!(k, K::AfterSwitch),
            put(stale, &[1; 64]),
        ),
        ("wrong magic", Place::Page(5), |k| matches!(k, K::Version { .. }), put(5 * 8192, &0xD116u16.to_ne_bytes())),
        (
            "wrong segment size",
            Place::Page(0),
            |k| matches!(k, K::SegmentSize { .. }),
            put(32, &(16u32 << 20).to_ne_bytes()),
        ),
    ]
}
