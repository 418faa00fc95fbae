//! Segments that come late: when others of their timeline, which follow them, are in the index already.
//!
//! Barman reads the lines of a timeline up to the first one behind what it looks for. Behind that it finds no segment: neither
//! the one that recovery needs, nor the one that a backup is counted to have.

use std::collections::BTreeMap;

use wal_format::{SegmentName, TimelineId, WalFileName};

use super::shrink::Buffered;
use super::{XlogDb, XlogEntry, XlogLine};
use crate::Error;
use crate::catalog::FILE_MODE;

impl XlogDb {
    /// Adds entries if one of them comes late; tells whether it did. Each late one goes to where it belongs, and the others to
    /// the end, in their order. The file is replaced as a whole, and durably.
    pub(super) fn insert_late(&mut self, entries: &[&XlogEntry]) -> Result<bool, Error> {
        if !self.are_late(entries)? {
            return Ok(false);
        }
        let mut waiting = entries.to_vec();
        self.dir.replace_with(&self.path, FILE_MODE, |file| {
            let (mut text, mut due) = (Buffered::default(), String::new());
            self.scan(|line| {
                waiting.retain(|entry| {
                    let is_due = is_before(entry, &line);
                    if is_due {
                        due += &entry.to_line();
                    }
                    !is_due
                });
                text.add(due.as_bytes(), file)?;
                due.clear();
                text.add(line.raw, file)
            })?;
            waiting.iter().try_for_each(|entry| text.add(entry.to_line().as_bytes(), file))?;
            text.flush(file)
        })?;
        Ok(true)
    }

    /// Tells whether a line is there that one of these belongs before. Mostly the last line of its timeline tells, which is one
    /// of the last lines of all.
    fn are_late(&self, entries: &[&XlogEntry]) -> Result<bool, Error> {
        let end = self.end()?;
        let lines = end.split_inclusive(|byte| *byte == b'\n').filter_map(XlogLine::of);
        let newest: BTreeMap<TimelineId, SegmentName> =
            lines.filter_map(|line| line.segment()).map(|name| (name.timeline, name)).collect();
        let mut unknown = Vec::new();
        for entry in entries {
            let WalFileName::Segment(name) = entry.name else { continue };
            match newest.get(&name.timeline) {
                Some(newest) if name < *newest => return Ok(true),
                Some(_) => {}
                None => unknown.push(*entry),
            }
        }
        let mut is_late = false;
        if !unknown.is_empty() {
            self.scan(|line| {
                is_late = is_late || unknown.iter().any(|entry| is_before(entry, &line));
                Ok::<_, Error>(())
            })?;
        }
        Ok(is_late)
    }
}

/// Tells whether an entry belongs before a line.
fn is_before(entry: &XlogEntry, line: &XlogLine<'_>) -> bool {
    let WalFileName::Segment(name) = entry.name else { return false };
    line.segment().is_some_and(|next| next.timeline == name.timeline && name < next)
}
