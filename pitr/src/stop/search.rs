//! Finding the record at which recovery stops.

use std::ops::ControlFlow;

use barman_catalog::{Catalog, Facts, LedgerReader, RecordFacts, Verdict, WalEventKind};
use wal_format::{Lsn, SegmentName, Timestamp};

use super::rule::{Mark, Step, StopRule, of_seconds};
use super::segment_reader::{Past, Reached, SegmentReader};
use super::wal_row::WalRow;
use super::{NamedPoint, PlannedStop, StopReason, TransactionPoint, Unreached};
use crate::plan_error::PlanError;
use crate::target::{RecoveryTarget, StopPoint, TargetXid};
use crate::timeline_path::TimelinePath;

/// What is searched.
pub(crate) struct Scope<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) row: &'a WalRow,
    pub(crate) path: &'a TimelinePath,
    /// Where recovery begins.
    pub(crate) redo: Lsn,
    /// Up to where it has to get before it may stop, at most.
    pub(crate) consistent: Lsn,
    /// Whether a record in the WAL ends the backup, before that or there: then that is how far it has to get.
    pub(crate) has_end_record: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The record.
    Stop(PlannedStop),
    /// There is none.
    Unreached(Unreached),
    /// That depends on a segment which cannot be read here: encrypted, or compressed by a program that is not known.
    Unknown(SegmentName),
}

/// A record at which recovery stops.
#[derive(Clone, Debug)]
struct Hit {
    step: Step,
    is_replayed: bool,
    past: Past,
    /// The segment in which it ends.
    index: usize,
}

impl Hit {
    fn replayed_to(&self) -> Option<Lsn> {
        if self.is_replayed { Some(self.step.end) } else { self.past.end }
    }
}

/// What comes before a segment.
enum Before {
    /// The last end of a transaction, if there is one.
    Transaction(Option<TransactionPoint>),
    /// A segment that cannot be believed: recovery gets no further.
    Break,
}

/// What a search came to.
enum Outcome {
    Hit(Box<Hit>),
    /// The row ends.
    End,
    Unreadable(SegmentName),
}

impl Scope<'_> {
    /// Finds where recovery to a target stops.
    pub(crate) fn find(&self, target: &RecoveryTarget) -> Result<Found, PlanError> {
        let ledger = self.catalog.ledger_reader()?;
        let reader = SegmentReader::new(self.catalog, self.row, self.redo);
        let mut search = Search { scope: self, ledger, reader, seen: Seen::default(), consistent: None };
        // Of all targets only this one needs to know it beforehand.
        let consistent = match target.stop {
            Some(StopPoint::Immediate) => search.consistent()?,
            _ => self.consistent,
        };
        match StopRule::of(target, consistent) {
            Some(rule) => search.target(&rule),
            None => search.end_of_wal(),
        }
    }
}

struct Search<'a> {
    scope: &'a Scope<'a>,
    ledger: LedgerReader,
    reader: SegmentReader<'a>,
    seen: Seen,
    /// Where the backup is consistent, once that was looked for.
    consistent: Option<Lsn>,
}

/// What was come across, for whoever has to be told that the target is not there.
#[derive(Default)]
struct Seen {
    last_transaction: Option<Timestamp>,
    /// The first record that proves a time, with the first end of a transaction at that time or later excluded.
    proof: Option<(Lsn, Timestamp)>,
    proven: Option<Timestamp>,
    last_end: Option<Lsn>,
    top_level: Option<TransactionPoint>,
    below: Option<TransactionPoint>,
    above: Option<TransactionPoint>,
    points: Vec<NamedPoint>,
    /// Where the row turned out to end.
    end: Option<Lsn>,
}

impl Search<'_> {
    fn target(&mut self, rule: &StopRule<'_>) -> Result<Found, PlanError> {
        match self.first(rule)? {
            Outcome::Hit(hit) => self.hit(rule, *hit, StopReason::Target),
            Outcome::Unreadable(name) => Ok(Found::Unknown(name)),
            Outcome::End => self.unreached(rule),
        }
    }

    /// Goes through the segments that can hold the record, in order.
    fn first(&mut self, rule: &StopRule<'_>) -> Result<Outcome, PlanError> {
        for index in 0..self.scope.row.segments.len() {
            let Some(file) = self.scope.row.segments.get(index).map(|segment| segment.file) else { break };
            let known = self.ledger.facts(&file)?.and_then(|facts| sound(facts, index));
            if let Some(records) = known {
                self.seen.facts(rule, records);
                if !may_hold(rule, records) {
                    continue;
                }
            } else if is_filled(self.ledger.facts(&file)?) {
                continue;
            }
            match self.read_for(rule, index)? {
                (Some(hit), _) => return Ok(Outcome::Hit(Box::new(hit))),
                (None, Reached::EndOfWal(end)) => {
                    self.seen.end = Some(end);
                    return Ok(Outcome::End);
                }
                (None, Reached::Unreadable(name)) => return Ok(Outcome::Unreadable(name)),
                (None, Reached::Border | Reached::Enough) => {}
            }
        }
        Ok(Outcome::End)
    }

    fn read_for(&mut self, rule: &StopRule<'_>, index: usize) -> Result<(Option<Hit>, Reached), PlanError> {
        let Self { ledger, reader, seen, .. } = self;
        let mut hit = None;
        let reached = reader.read(index, ledger, &mut |past, step| {
            let before = rule.stops_before(step);
            if before || rule.stops_after(step) {
                hit = Some(Hit { step: step.clone(), is_replayed: !before, past: *past, index });
                return ControlFlow::Break(());
            }
            seen.step(rule, step);
            ControlFlow::Continue(())
        })?;
        Ok((hit, reached))
    }

    fn hit(&mut self, rule: &StopRule<'_>, hit: Hit, reason: StopReason) -> Result<Found, PlanError> {
        let Some(replayed_to) = self.consistent_at(hit.replayed_to())? else {
            return self.inconsistent(hit.step.start, None);
        };
        let next_xid = self.next_xid_near(hit.index)?;
        if let Some(found) = other_epoch(rule, &hit, next_xid) {
            return Ok(Found::Unreached(found));
        }
        let own = hit.step.mark.transaction();
        let replayed = own.filter(|_| hit.is_replayed).or(hit.past.transaction);
        let last_transaction = match replayed {
            Some(point) => Some(point),
            None => match self.before(hit.past.since)? {
                Before::Transaction(last) => last,
                Before::Break => None,
            },
        };
        let first_left_out = match own.filter(|_| !hit.is_replayed) {
            Some(point) => Some(point),
            None => self.next_transaction(&hit)?,
        };
        Ok(Found::Stop(PlannedStop {
            reason,
            at: hit.step.start,
            is_replayed: hit.is_replayed,
            replayed_to,
            timeline: self.scope.path.timeline_at(hit.step.start),
            last_transaction: last_transaction.map(|point| point.counted(next_xid)),
            first_left_out: first_left_out.map(|point| point.counted(next_xid)),
            restore_points: self.namesakes(rule, &hit)?,
        }))
    }

    /// The next transaction of a checkpoint near a segment: with that the others are told apart that have its number in
    /// another epoch.
    fn next_xid_near(&mut self, index: usize) -> Result<Option<u64>, PlanError> {
        match self.scope.row.segments.get(index) {
            Some(segment) => Ok(self.ledger.next_xid_near(&segment.name)?),
            None => Ok(None),
        }
    }

    /// Looks through the segments before `index`, the nearest first, for the last end of a transaction.
    fn before(&mut self, index: usize) -> Result<Before, PlanError> {
        for index in (0..index).rev() {
            let Some(segment) = self.scope.row.segments.get(index) else { continue };
            let facts = self.ledger.facts(&segment.file)?;
            if is_filled(facts)
                || facts.and_then(|facts| sound(facts, index)).is_some_and(|records| records.ends.is_none())
            {
                continue;
            }
            let mut last = None;
            let reached = self.reread(index, &mut |_, step| {
                last = step.mark.transaction().or(last);
                ControlFlow::Continue(())
            })?;
            match reached {
                Reached::EndOfWal(_) => return Ok(Before::Break),
                Reached::Border | Reached::Enough if last.is_none() => {}
                Reached::Border | Reached::Enough | Reached::Unreadable(_) => return Ok(Before::Transaction(last)),
            }
        }
        Ok(Before::Transaction(None))
    }

    /// The first end of a transaction behind the record at which recovery stops.
    fn next_transaction(&mut self, hit: &Hit) -> Result<Option<TransactionPoint>, PlanError> {
        for index in hit.index..self.scope.row.segments.len() {
            let Some(segment) = self.scope.row.segments.get(index) else { break };
            let facts = self.ledger.facts(&segment.file)?;
            if is_filled(facts)
                || facts.and_then(|facts| sound(facts, index)).is_some_and(|records| records.ends.is_none())
            {
                continue;
            }
            let mut next = None;
            let reached = self.reread(index, &mut |_, step| {
                next = step.mark.transaction().filter(|point| point.lsn > hit.step.start);
                if next.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if next.is_some() || reached != Reached::Border {
                return Ok(next);
            }
        }
        Ok(None)
    }

    fn reread(
        &mut self,
        index: usize,
        visit: &mut dyn FnMut(&Past, &Step) -> ControlFlow<()>,
    ) -> Result<Reached, PlanError> {
        self.reader.read(index, &mut self.ledger, visit)
    }

    /// The restore points of the name that was asked for, the one that counts first.
    fn namesakes(&mut self, rule: &StopRule<'_>, hit: &Hit) -> Result<Vec<NamedPoint>, PlanError> {
        let StopPoint::Name(wanted) = rule.stop() else { return Ok(Vec::new()) };
        let is_wanted = |name: &[u8]| name == wanted.as_str().as_bytes();
        let mut points: Vec<NamedPoint> = named(&hit.step).filter(|_| hit.is_replayed).into_iter().collect();
        for index in hit.index..self.scope.row.segments.len() {
            let Some(segment) = self.scope.row.segments.get(index) else { break };
            let facts = self.ledger.facts(&segment.file)?;
            if let Some(records) =
                facts.and_then(|facts| sound(facts, index)).filter(|records| records.events_left_out == 0)
            {
                let later = restore_points(records).filter(|(lsn, ..)| *lsn > hit.step.start);
                points.extend(later.filter(|(_, name, _)| is_wanted(name)).map(|(lsn, name, at)| point(lsn, name, at)));
                continue;
            }
            let reached = self.reread(index, &mut |_, step| {
                let is_later = step.start > hit.step.start;
                let found = named(step).filter(|point| is_later && point.name == wanted.as_str());
                points.extend(found);
                ControlFlow::Continue(())
            })?;
            if reached != Reached::Border {
                break;
            }
        }
        Ok(points)
    }

    fn unreached(&mut self, rule: &StopRule<'_>) -> Result<Found, PlanError> {
        // Then that is what is wrong, whatever the target.
        if let Some((end, segment)) = self.seen.end.zip(self.reader.broken)
            && self.consistent_at(Some(end))?.is_none()
        {
            return self.inconsistent(end, Some(segment));
        }
        let end = self.seen.end.or(self.scope.row.end()).unwrap_or(self.scope.redo);
        let seen = std::mem::take(&mut self.seen);
        Ok(Found::Unreached(match rule.stop() {
            StopPoint::Time(target) => match seen.proof {
                Some((lsn, proven)) => return self.equivalent(seen.last_end.map_or(lsn, |end| end.max(lsn)), proven),
                None => Unreached::Time {
                    target: *target,
                    last_transaction: seen.last_transaction,
                    proven: seen.proven.max(seen.last_transaction),
                },
            },
            StopPoint::Xid(target) => {
                let Seen { top_level, below, above, .. } = seen;
                Unreached::Xid { target: *target, top_level, below, above }
            }
            StopPoint::Name(name) => Unreached::Name { name: name.as_str().to_owned(), known: seen.points },
            StopPoint::Lsn(target) => Unreached::Lsn { target: *target, end },
            // Behind the end of a backup the rest of its segment is left by a record, so this is one that ended at a border,
            // and whose server has written nothing since.
            StopPoint::Immediate => return self.end_of_wal(),
        }))
    }

    /// A time without a later commit: the position from which on nothing is missing that was committed until then.
    fn equivalent(&mut self, lsn: Lsn, proven: Timestamp) -> Result<Found, PlanError> {
        let target = RecoveryTarget { stop: Some(StopPoint::Lsn(lsn)), ..RecoveryTarget::default() };
        let Some(rule) = StopRule::of(&target, self.scope.consistent) else { return self.end_of_wal() };
        match self.first(&rule)? {
            Outcome::Hit(hit) => self.hit(&rule, *hit, StopReason::EquivalentLsn { lsn, proven }),
            Outcome::Unreadable(name) => Ok(Found::Unknown(name)),
            Outcome::End => self.unreached(&rule),
        }
    }

    /// The end of what recovery replays, if the backup is consistent then.
    fn consistent_at(&mut self, end: Option<Lsn>) -> Result<Option<Lsn>, PlanError> {
        let Some(end) = end else { return Ok(None) };
        // What lies behind the bound needs no search.
        let is_consistent = end >= self.scope.consistent || end >= self.consistent()?;
        Ok(is_consistent.then_some(end))
    }

    /// Recovery ends too early: it stops, or the WAL breaks off in a segment.
    fn inconsistent(&mut self, stop: Lsn, broken: Option<SegmentName>) -> Result<Found, PlanError> {
        let consistent = self.consistent()?;
        Ok(Found::Unreached(match broken {
            Some(segment) => Unreached::Broken { segment, end: stop, consistent },
            None => Unreached::Inconsistent { stop, consistent },
        }))
    }

    /// Where the backup is consistent. Its record in the catalog may name a later position: Barman notes where the server
    /// is when it has the backup, which is at least a segment's border later.
    fn consistent(&mut self) -> Result<Lsn, PlanError> {
        if let Some(known) = self.consistent {
            return Ok(known);
        }
        let end = if self.scope.has_end_record { self.backup_end()? } else { None };
        Ok(*self.consistent.insert(end.unwrap_or(self.scope.consistent)))
    }

    /// Where the record ends that ends the backup; most are in the last of its segments, or the one before that.
    fn backup_end(&mut self) -> Result<Option<Lsn>, PlanError> {
        let Scope { row, redo, consistent, .. } = *self.scope;
        let end = Mark::BackupEnd { start: redo };
        for index in (0..row.segments.len()).rev() {
            if row.segments.get(index).is_none_or(|segment| segment.number.start(row.size) >= consistent) {
                continue;
            }
            let mut found = None;
            self.reread(index, &mut |_, step| {
                found = (step.mark == end).then_some(step.end);
                if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Without a target recovery ends with the WAL: before the first damage, or with the last record.
    fn end_of_wal(&mut self) -> Result<Found, PlanError> {
        let Some((index, name)) = self.last_to_read()? else {
            return self.inconsistent(self.scope.redo, None);
        };
        if let Reached::Unreadable(name) = self.reread(index, &mut |_, _| ControlFlow::Continue(()))? {
            return Ok(Found::Unknown(name));
        }
        if let Some(end) = self.end_here()? {
            return Ok(end);
        }
        // Something in front ends recovery, so it is found as recovery finds it: in order. What lies behind tells nothing, and
        // there may be very much of it.
        let all = RecoveryTarget { stop: Some(StopPoint::Lsn(Lsn::MAX)), ..RecoveryTarget::default() };
        if let Some(rule) = StopRule::of(&all, self.scope.consistent)
            && let Outcome::Unreadable(name) = self.first(&rule)?
        {
            return Ok(Found::Unknown(name));
        }
        // Without an end something became of segments that the ledger believes.
        let found = if self.seen.end.is_some() { self.end_here()? } else { None };
        Ok(found.unwrap_or(Found::Unknown(name)))
    }

    /// The first segment that is damaged as far as the ledger knows, or the last of all.
    fn last_to_read(&mut self) -> Result<Option<(usize, SegmentName)>, PlanError> {
        let mut last = None;
        for (index, segment) in self.scope.row.segments.iter().enumerate() {
            last = Some((index, segment.name));
            let facts = self.ledger.facts(&segment.file)?;
            if facts.is_some_and(|facts| matches!(facts.verdict, Verdict::Damaged { .. })) {
                break;
            }
        }
        Ok(last)
    }

    /// The end of recovery where reading ended; `None` if it does not get there, because of a segment in front of that.
    fn end_here(&mut self) -> Result<Option<Found>, PlanError> {
        let mut broken = self.reader.broken;
        if let (None, Some(before)) = (self.reader.past.last, self.reader.past.since.checked_sub(1)) {
            self.reread(before, &mut |_, _| ControlFlow::Continue(()))?;
            broken = self.reader.broken.or(broken);
        }
        let past = self.reader.past;
        if past.last.is_none() && past.since > 0 {
            return Ok(None);
        }
        let Some((at, replayed_to)) = past.last.zip(self.consistent_at(past.end)?) else {
            return self.inconsistent(past.end.unwrap_or(self.scope.redo), broken).map(Some);
        };
        let last_transaction = match past.transaction {
            Some(point) => Some(point),
            None => match self.before(past.since)? {
                Before::Transaction(last) => last,
                Before::Break => return Ok(None),
            },
        };
        Ok(Some(Found::Stop(PlannedStop {
            reason: StopReason::EndOfWal,
            at,
            is_replayed: true,
            replayed_to,
            timeline: self.scope.path.timeline_at(at),
            last_transaction,
            first_left_out: None,
            restore_points: Vec::new(),
        })))
    }
}

/// PostgreSQL compares the lower halves only: with an epoch it can be told whether that is the transaction meant.
fn other_epoch(rule: &StopRule<'_>, hit: &Hit, next_xid: Option<u64>) -> Option<Unreached> {
    let StopPoint::Xid(target) = rule.stop() else { return None };
    let (wanted, found) = (target.with_epoch()?, hit.step.mark.transaction()?.counted(next_xid).full_xid?.get());
    (found != wanted).then_some(Unreached::XidEpoch { target: *target, found })
}

/// What can be believed of a segment without reading it: all records that end in it are in its facts. What crosses into the
/// first segment began before recovery does.
fn sound(facts: &Facts, index: usize) -> Option<&RecordFacts> {
    let is_sound = facts.verdict == Verdict::Verified || (index == 0 && facts.verdict == Verdict::BorderOpen);
    facts.records.as_ref().filter(|_| is_sound)
}

/// Whether a segment holds nothing but a part of one record.
fn is_filled(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| facts.verdict == Verdict::Verified && facts.records.is_none())
}

/// Whether recovery may stop at a record that ends in a segment with these facts.
fn may_hold(rule: &StopRule<'_>, records: &RecordFacts) -> bool {
    let latest = records.ends.map(|ends| ends.greatest);
    match rule.stop() {
        StopPoint::Time(target) if rule.is_inclusive() => latest.is_some_and(|latest| latest > target.instant()),
        StopPoint::Time(target) => latest.is_some_and(|latest| latest >= target.instant()),
        StopPoint::Xid(target) => records.xids.is_some_and(|range| range.contains(target.low_half())),
        StopPoint::Lsn(target) => records.last >= *target,
        StopPoint::Name(name) => {
            let mut names = restore_points(records).map(|(_, name, _)| name);
            records.events_left_out > 0 || names.any(|found| found == name.as_str().as_bytes())
        }
        StopPoint::Immediate => records.end >= rule.consistent,
    }
}

fn restore_points(records: &RecordFacts) -> impl Iterator<Item = (Lsn, &[u8], Timestamp)> {
    records.events.iter().filter_map(|event| match &event.kind {
        WalEventKind::RestorePoint { name } => Some((event.lsn, name.as_slice(), event.at?)),
        _ => None,
    })
}

fn point(lsn: Lsn, name: &[u8], at: Timestamp) -> NamedPoint {
    NamedPoint { name: String::from_utf8_lossy(name).into_owned(), lsn, at }
}

fn named(step: &Step) -> Option<NamedPoint> {
    match &step.mark {
        Mark::RestorePoint { name, at } => Some(point(step.start, name, *at)),
        _ => None,
    }
}

/// How many restore points are named to somebody who asked for another one.
const POINTS: usize = 20;

impl Seen {
    fn step(&mut self, rule: &StopRule<'_>, step: &Step) {
        if let Some(at) = step.mark.time() {
            self.clock(rule, step.start, at);
        }
        if let Mark::TransactionEnd(end, subtransactions) = &step.mark {
            self.last_transaction = self.last_transaction.max(Some(end.at));
            self.last_end = self.last_end.max(Some(end.lsn));
            if let StopPoint::Xid(target) = rule.stop() {
                self.neighbour(*target, *end, subtransactions);
            }
        }
        if let Some(point) = named(step) {
            self.point(point);
        }
    }

    fn facts(&mut self, rule: &StopRule<'_>, records: &RecordFacts) {
        // Where no end is late enough, it is enough to know that the ends are not behind the last record.
        if let Some(ends) = records.ends {
            self.last_transaction = self.last_transaction.max(Some(ends.greatest));
            self.last_end = self.last_end.max(Some(records.last));
        }
        for checkpoint in &records.checkpoints {
            self.clock(rule, checkpoint.lsn, of_seconds(checkpoint.unix_time));
        }
        for event in &records.events {
            if let Some(at) = event.at {
                self.clock(rule, event.lsn, at);
            }
        }
        let points = restore_points(records).map(|(lsn, name, at)| point(lsn, name, at));
        points.for_each(|point| self.point(point));
    }

    fn clock(&mut self, rule: &StopRule<'_>, lsn: Lsn, at: Timestamp) {
        self.proven = self.proven.max(Some(at));
        if let StopPoint::Time(target) = rule.stop()
            && at >= target.instant()
            && self.proof.is_none()
        {
            self.proof = Some((lsn, at));
        }
    }

    /// Remembers who ends near a transaction that does not.
    fn neighbour(&mut self, target: TargetXid, end: TransactionPoint, subtransactions: &[u32]) {
        let wanted = target.low_half();
        if subtransactions.contains(&wanted) {
            self.top_level = self.top_level.or(Some(end));
        }
        let ahead = |xid: u32| xid.wrapping_sub(wanted).cast_signed();
        match ahead(end.xid) {
            _ if end.xid == 0 => {}
            distance if distance > 0 => {
                let nearest = self.above.is_none_or(|above| ahead(above.xid) > distance);
                self.above = if nearest { Some(end) } else { self.above };
            }
            distance => {
                let nearest = self.below.is_none_or(|below| ahead(below.xid) < distance);
                self.below = if nearest { Some(end) } else { self.below };
            }
        }
    }

    fn point(&mut self, point: NamedPoint) {
        // Facts and records of one segment tell of the same ones.
        if self.points.len() < POINTS && self.points.iter().all(|known| known.lsn != point.lsn) {
            self.points.push(point);
        }
    }
}
