//! A history file: whatever is understood survives being written and read again, and every position has a timeline.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{Lsn, TimelineHistory, TimelineId};

fuzz_target!(|text: &[u8]| {
    let timeline = TimelineId::new(9).expect("not zero");
    let Ok(history) = TimelineHistory::parse(timeline, text) else { return };
    assert_eq!(TimelineHistory::parse(timeline, history.to_string().as_bytes()).as_ref(), Ok(&history));
    let edges =
        history.entries.iter().flat_map(|entry| [entry.switch_lsn.as_u64(), entry.switch_lsn.as_u64().wrapping_sub(1)]);
    for lsn in edges.chain([0, u64::MAX]).map(Lsn::new) {
        let written_on = history.timeline_at(lsn);
        assert!(written_on == timeline || history.switch_lsn(written_on).is_some_and(|switch| lsn < switch));
    }
});
