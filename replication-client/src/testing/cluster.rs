//! [`Cluster`]: what a [`ScriptedWalsender`](super::ScriptedWalsender) pretends to have.

use std::collections::BTreeMap;

use bytes::Bytes;
use wal_format::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineId};

use super::backup::ScriptedBackup;
use crate::result_set::ResultSet;

/// The state of a server that there is none of: WAL by timeline, slots, settings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cluster {
    /// The system identifier.
    pub system_id: SystemId,
    /// The version in words; it decides which words the server understands and how it sends base backups.
    pub version: String,
    /// Slots by name.
    pub slots: BTreeMap<String, ScriptedSlot>,
    /// What `SHOW` answers. `wal_segment_size` and `server_version` are always there.
    pub settings: BTreeMap<String, String>,
    /// What queries return, by their exact text.
    pub answers: BTreeMap<String, ResultSet>,
    /// WAL before this position has been removed.
    pub removed_before: Option<Lsn>,
    /// What the server wants to change about the protocol (NegotiateProtocolVersion), before it lets anybody in: the
    /// minor version, and the options that it does not know.
    pub negotiation: Option<(u32, Vec<String>)>,
    /// What `BASE_BACKUP` sends. Without one it fails.
    pub backup: Option<ScriptedBackup>,
    segment_size: SegmentSize,
    start: Lsn,
    /// The oldest first, and never none.
    timelines: Vec<Timeline>,
}

/// A physical replication slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptedSlot {
    /// The oldest WAL that is kept for it; moves with what is reported as flushed.
    pub restart_lsn: Option<Lsn>,
    /// Whether it is in use.
    pub active: bool,
    /// Whether it has been invalidated.
    pub lost: bool,
}

#[derive(Clone, Debug)]
struct Timeline {
    id: TimelineId,
    /// From the cluster's first position on, what it took over from its parent included.
    wal: Vec<u8>,
    history: String,
    /// Where it left its parent.
    begin: Lsn,
}

impl Cluster {
    /// A cluster on timeline 1, of PostgreSQL 15 with segments of 16 MiB, whose WAL begins at `start`, preferably with a
    /// segment.
    #[must_use]
    pub fn new(system_id: SystemId, start: Lsn, wal: impl Into<Vec<u8>>) -> Self {
        let first = Timeline { id: TimelineId::FIRST, wal: wal.into(), history: String::new(), begin: start };
        Self {
            system_id,
            version: "15.18".to_owned(),
            slots: BTreeMap::new(),
            settings: BTreeMap::new(),
            answers: BTreeMap::new(),
            removed_before: None,
            negotiation: None,
            backup: None,
            segment_size: SegmentSize::DEFAULT,
            start,
            timelines: vec![first],
        }
    }

    /// Chooses the segment size.
    #[must_use]
    pub fn with_segment_size(self, segment_size: SegmentSize) -> Self {
        Self { segment_size, ..self }
    }

    /// Adds WAL to the end of the current timeline.
    pub fn append(&mut self, wal: &[u8]) {
        self.current_mut().wal.extend_from_slice(wal);
    }

    /// Ends the current timeline at `at`, which may lie before its end, as if a standby had been promoted there. The
    /// next one begins with `wal`.
    ///
    /// # Panics
    /// The current timeline does not reach `at`.
    pub fn promote(&mut self, at: Lsn, wal: &[u8]) {
        let parent = self.current();
        let id = TimelineId::new(parent.id.get() + 1).expect("few timelines");
        let taken_over = parent.wal.get(..self.offset(at)).expect("the timeline leads to the switch");
        let timeline = Timeline {
            id,
            wal: [taken_over, wal].concat(),
            history: format!("{}{}\t{at}\tno recovery target specified\n", parent.history, parent.id),
            begin: at,
        };
        self.timelines.push(timeline);
    }

    /// Returns the current timeline.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.current().id
    }

    /// Returns the end of WAL on the current timeline.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.end_of(self.current().id).expect("it exists")
    }

    /// Returns all WAL of a timeline that there is, what it took over from its parent included.
    #[must_use]
    pub fn wal(&self, timeline: TimelineId) -> Option<&[u8]> {
        self.find(timeline).map(|timeline| &timeline.wal[..])
    }

    /// Returns the end of what is streamed of a timeline: where the next one leaves it, or its end.
    pub(super) fn end_of(&self, timeline: TimelineId) -> Option<Lsn> {
        let all = &self.find(timeline)?.wal;
        let end = Lsn::new(self.start.as_u64() + all.len() as u64);
        Some(self.next_of(timeline).map_or(end, |(_, switch)| switch))
    }

    /// Returns the timeline that follows, and where it begins.
    pub(super) fn next_of(&self, timeline: TimelineId) -> Option<(TimelineId, Lsn)> {
        let index = self.timelines.iter().position(|other| other.id == timeline)?;
        self.timelines.get(index + 1).map(|next| (next.id, next.begin))
    }

    /// Returns WAL from `at` on: at most `most` bytes, and nothing behind the end of what is streamed.
    pub(super) fn piece(&self, timeline: TimelineId, at: Lsn, most: usize) -> Bytes {
        let (all, end) = (self.wal(timeline).unwrap_or_default(), self.end_of(timeline).unwrap_or(at));
        let (from, to) = (self.offset(at), self.offset(end));
        all.get(from..to.min(from.saturating_add(most))).map(Bytes::copy_from_slice).unwrap_or_default()
    }

    /// Returns whether the history of the current timeline leads through this one.
    pub(super) fn has(&self, timeline: TimelineId) -> bool {
        self.find(timeline).is_some()
    }

    pub(super) fn history_of(&self, timeline: TimelineId) -> Option<&str> {
        self.find(timeline).map(|timeline| timeline.history.as_str()).filter(|history| !history.is_empty())
    }

    /// Returns the segment that `at` lies in, where it has been removed.
    pub(super) fn removed_segment(&self, timeline: TimelineId, at: Lsn) -> Option<String> {
        let first = self.removed_before.unwrap_or(self.start).max(self.start);
        let number = SegmentNumber::containing(at, self.segment_size);
        (at < first).then(|| number.name(timeline, self.segment_size).to_string())
    }

    pub(super) fn setting(&self, name: &str) -> Option<String> {
        match name {
            "wal_segment_size" => Some(format!("{}MB", self.segment_size.bytes() >> 20)),
            "server_version" => Some(self.version.clone()),
            name => self.settings.get(name).cloned(),
        }
    }

    fn offset(&self, at: Lsn) -> usize {
        let offset = at.bytes_since(self.start).expect("WAL begins before it");
        usize::try_from(offset).expect("it is in memory")
    }

    fn find(&self, id: TimelineId) -> Option<&Timeline> {
        self.timelines.iter().find(|timeline| timeline.id == id)
    }

    fn current(&self) -> &Timeline {
        self.timelines.last().expect("there is one")
    }

    fn current_mut(&mut self) -> &mut Timeline {
        self.timelines.last_mut().expect("there is one")
    }
}
