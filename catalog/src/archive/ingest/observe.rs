//! Third stage: what the records of a file say, and whether they can be believed.

use std::io::Read as _;

use barman_storage::{Dir, Operation, RelativePath};
use wal_format::{
    BorderState, Crc32c, Damage, Lsn, SegmentHeader, SegmentName, SegmentNumber, SegmentSize, Source, SystemId,
    TimelineHistory, TimelineId, Timestamp, WalFileName,
};

use crate::archive::facts::{Observed, Observer};
use crate::archive::source::Candidate;
use crate::{Catalog, Content, Encoding, Error, Facts, RecordFacts, Unread, Unverified, Verdict, WalSource, layout};

use super::check::{Finding, Refusal, broken, check, wrong_length};
use super::detect::Detected;
use super::walk::{Walk, sum_up};

/// What is known of a file before it is archived.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(super) facts: Facts,
    /// What the segment after it has to go on from.
    pub(super) border: Option<(SegmentName, BorderState)>,
}

/// What is known of the segments that neighbour those of a run, so that segments which arrive in order are read once.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// The segment that was looked at last, and what stands at its end.
    last: Option<(SegmentName, BorderState)>,
    /// The history that was read last.
    history: Option<(TimelineId, Option<TimelineHistory>)>,
}

impl Neighbours {
    /// Notes what stands at the end of a file that is archived now, or together with those that are looked at next.
    pub(super) fn looked_at(&mut self, observation: &Observation) {
        if observation.border.is_some() {
            self.last.clone_from(&observation.border);
        }
    }

    /// What the segment behind `name` has to go on from, if `name` is the one that was looked at last.
    pub(crate) fn state_behind(&self, name: SegmentName) -> Option<BorderState> {
        self.last.as_ref().filter(|(last, _)| *last == name).map(|(_, state)| state.clone())
    }

    /// Has histories read again: one has arrived.
    pub(super) fn forget_histories(&mut self) {
        self.history = None;
    }

    /// The segment before `name`: of its timeline, or of the ancestor that the WAL before it was written on.
    pub(super) fn predecessor(
        &mut self,
        catalog: &Catalog,
        name: SegmentName,
        size: SegmentSize,
    ) -> Option<SegmentName> {
        previous(name, size, self.history(catalog, name.timeline))
    }

    /// The history of a timeline, as far as it is there and can be read: without it the timeline is taken for the first.
    fn history(&mut self, catalog: &Catalog, timeline: TimelineId) -> Option<&TimelineHistory> {
        if self.history.as_ref().is_none_or(|(known, _)| *known != timeline) {
            let history = catalog.timeline_history(timeline).ok().flatten();
            self.history = Some((timeline, history));
        }
        self.history.as_ref().and_then(|(_, history)| history.as_ref())
    }

    /// What stands at the beginning of `name`, if the segment before it is archived and can be read.
    ///
    /// A record may be longer than a segment: where nothing but a part of one is in it, the search goes further back.
    pub(super) fn before(
        &mut self,
        catalog: &Catalog,
        name: SegmentName,
        size: SegmentSize,
    ) -> Result<Option<BorderState>, Error> {
        // The longest record there is (`XLogRecordMaxSize`) lies in so many segments, and in two more.
        let furthest = (1u64 << 30) / size.bytes() + 2;
        let mut missing = Vec::new();
        let mut next = name;
        let mut state = loop {
            let Some(previous) = self.predecessor(catalog, next, size) else { break None };
            if let Some(state) = self.state_behind(previous) {
                break Some(state);
            }
            missing.push(previous);
            let Some(observed) = observe_archived(catalog, previous, size, None)? else {
                missing.pop();
                break None;
            };
            if observed.records.is_some() || missing.len() as u64 >= furthest {
                missing.pop();
                break observed.border;
            }
            next = previous;
        };
        while let Some(name) = missing.pop() {
            state = observe_archived(catalog, name, size, state)?.and_then(|observed| observed.border);
        }
        Ok(state)
    }
}

/// The segment before `name`, whose timeline has this history.
pub(super) fn previous(name: SegmentName, size: SegmentSize, history: Option<&TimelineHistory>) -> Option<SegmentName> {
    let before = name.number(size).ok()?.get().checked_sub(1).map(SegmentNumber::new)?;
    let timeline = history.map_or(name.timeline, |history| history.timeline_at(before.start(size)));
    Some(before.name(timeline, size))
}

/// Reads a segment of the archive; `None` if it is not there or cannot be read: what lies beside it is then judged by itself,
/// since a bad sector in the archive must not keep what arrives waiting.
pub(super) fn observe_archived(
    catalog: &Catalog,
    name: SegmentName,
    size: SegmentSize,
    before: Option<BorderState>,
) -> Result<Option<Observed>, Error> {
    match read_archived(catalog, name, size, before) {
        Err(Error::Storage(error)) => {
            tracing::warn!(%error, "the archived segment {name} cannot be read");
            Ok(None)
        }
        observed => observed,
    }
}

fn read_archived(
    catalog: &Catalog,
    name: SegmentName,
    size: SegmentSize,
    before: Option<BorderState>,
) -> Result<Option<Observed>, Error> {
    const BUFFER: usize = 256 * 1024;
    let Some(found) = catalog.find_archived(&WalFileName::Segment(name))? else { return Ok(None) };
    let Ok(start) = name.start(size) else { return Ok(None) };
    if found.encoding == Encoding::Plain && found.size != size.bytes() {
        return Ok(None);
    }
    let mut file = match found.contents() {
        // Encrypted, or by a program that is not known: nobody can say what is in it.
        Err(Error::Encoded { .. }) => return Ok(None),
        contents => contents?,
    };
    let mut observer = Observer::new(name, (start, size), Source::Complete, before);
    let (mut buffer, mut bytes) = (vec![0; BUFFER], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                bytes += length as u64;
                observer.take(buffer.get(..length).unwrap_or_default());
            }
            Err(error) if error.raw_os_error().is_some() => {
                return Err(barman_storage::Error::new(Operation::Read, found.display_path(), error).into());
            }
            // Broken where it lies: what is behind it can only be judged by itself.
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(observer.finish()).filter(|_| bytes == size.bytes()))
}

/// Checks a file and reads its records.
pub(super) fn look(
    catalog: &Catalog,
    neighbours: &mut Neighbours,
    file: &mut Detected,
    (system, now): (Option<SystemId>, Timestamp),
) -> Result<(Finding, Option<Observation>), Error> {
    let looked = check(catalog, file, system, now).and_then(|finding| {
        let observation = observe(catalog, neighbours, file, &finding)?;
        Ok((finding, observation))
    });
    let (finding, observation) = match looked {
        Err(Error::Unwrap { source, .. }) => return Ok((broken(file, &source, now), None)),
        looked => looked?,
    };
    let raw = observation.as_ref().and_then(|observation| observation.facts.raw);
    if let (Finding::Sound(Some(header)), Some(raw)) = (&finding, raw)
        && let Some(refusal) = wrong_length(file.entry.name, header, raw.bytes)
    {
        return Ok((Finding::Refused(refusal), None));
    }
    Ok((finding, observation))
}

/// Reads a file's records, where it has any that can be read. What the check could not make out is refused or archived
/// unverified as it said, unless its records show that it is the WAL of its name with a damaged beginning.
pub(super) fn observe(
    catalog: &Catalog,
    neighbours: &mut Neighbours,
    file: &mut Detected,
    finding: &Finding,
) -> Result<Option<Observation>, Error> {
    let name = file.entry.name;
    match (name, finding) {
        (WalFileName::Segment(segment), Finding::Sound(Some(header))) => {
            observe_segment(catalog, neighbours, file, segment, header.segment_size).map(Some)
        }
        (WalFileName::Partial(segment), Finding::Sound(Some(header))) => {
            observe_partial(catalog, neighbours, file, segment, header.segment_size).map(Some)
        }
        (WalFileName::Segment(segment), Finding::Refused(Refusal::NoWal { .. }))
        | (WalFileName::Segment(segment), Finding::Unverified(Unverified::Header(_))) => {
            let size = catalog.segment_size()?.or(SegmentSize::new(file.stat.size));
            let observed = match size.filter(|size| size.bytes() == file.stat.size) {
                Some(size) => Some(observe_segment(catalog, neighbours, file, segment, size)?),
                None => None,
            };
            match (observed.filter(|observed| observed.facts.records.is_some()), finding) {
                (None, Finding::Unverified(_)) => unread(file, finding).map(Some),
                (observed, _) => Ok(observed),
            }
        }
        (_, Finding::Sound(_) | Finding::Unverified(_)) => unread(file, finding).map(Some),
        (_, Finding::Refused(_) | Finding::Unfinished) => Ok(None),
    }
}

fn observe_segment(
    catalog: &Catalog,
    neighbours: &mut Neighbours,
    file: &mut Detected,
    name: SegmentName,
    size: SegmentSize,
) -> Result<Observation, Error> {
    let before = neighbours.before(catalog, name, size)?;
    let observer = Observer::new(name, (start(name, size), size), Source::Complete, before);
    let (raw, observed) = read(file, observer)?;
    let verdict = judge(&observed);
    let border = observed.border.map(|state| (name, state));
    Ok(Observation { facts: facts(file, Some(raw), verdict, observed.records), border })
}

/// A `.partial` file ends where its last record does, and nothing in it can be called damage.
fn observe_partial(
    catalog: &Catalog,
    neighbours: &mut Neighbours,
    file: &mut Detected,
    name: SegmentName,
    size: SegmentSize,
) -> Result<Observation, Error> {
    let before = neighbours.before(catalog, name, size)?;
    let observer = Observer::new(name, (start(name, size), size), Source::Open, before);
    let (raw, observed) = read(file, observer)?;
    let verdict = if observed.border_open { Verdict::BorderOpen } else { Verdict::Verified };
    Ok(Observation { facts: facts(file, Some(raw), verdict, observed.records), border: None })
}

/// The cluster that a file of the archive has to be of. Before somebody accepted the one of now, it was another one: where
/// there are backups of that, there is WAL of it.
fn expected_cluster(catalog: &Catalog, file: &Detected, now: Option<SystemId>) -> Result<Option<SystemId>, Error> {
    let found = SegmentHeader::parse(&file.head).ok().map(|header| header.system_id);
    if now.is_none() || found.is_none() || found == now {
        return Ok(now);
    }
    let has_backups = catalog.backups()?.iter().any(|info| info.systemid == found);
    Ok(if has_backups { found } else { now })
}

/// The check compared the two: no other name gets here.
fn start(name: SegmentName, size: SegmentSize) -> Lsn {
    name.start(size).unwrap_or(Lsn::MAX)
}

fn read(file: &mut Detected, mut observer: Observer) -> Result<(Content, Observed), Error> {
    let raw = file.walk.through(file, &mut observer)?;
    Ok((raw, observer.finish()))
}

/// Files without records, and those whose records cannot be read.
fn unread(file: &mut Detected, finding: &Finding) -> Result<Observation, Error> {
    let verdict = match finding {
        Finding::Unverified(Unverified::Encoded(Encoding::Encrypted)) => Verdict::Unverified(Unread::Encrypted),
        Finding::Unverified(Unverified::Encoded(_)) => Verdict::Unverified(Unread::Compressed),
        Finding::Unverified(Unverified::Header(_)) => Verdict::Unverified(Unread::Version),
        _ => Verdict::Verified,
    };
    let raw = if file.is_readable() { Some(sum_up(file, |_| ())?) } else { None };
    Ok(Observation { facts: facts(file, raw, verdict, None), border: None })
}

/// The file as it is.
fn stored_content(file: &mut Detected) -> Result<Content, Error> {
    let mut crc = Crc32c::new();
    file.read_stored(|bytes| {
        crc.update(bytes);
        Ok(())
    })?;
    Ok(Content { bytes: file.stat.size, crc32c: crc.finish() })
}

/// The facts of a file that is not stored yet.
fn facts(file: &Detected, raw: Option<Content>, verdict: Verdict, records: Option<RecordFacts>) -> Facts {
    Facts { name: file.entry.name, raw, stored: Content { bytes: 0, crc32c: 0 }, verdict, records }
}

/// What invariant 5 calls a segment with these records.
pub(crate) fn judge(observed: &Observed) -> Verdict {
    match &observed.damage {
        Some(Damage { at, kind, .. }) => Verdict::Damaged { at: *at, what: kind.to_string() },
        None if observed.border_open => Verdict::BorderOpen,
        None => Verdict::Verified,
    }
}

/// Reads a file of the archive as if it arrived now; `None` if it is gone. What would be refused is damage here.
pub(crate) fn observe_stored(
    catalog: &Catalog,
    neighbours: &mut Neighbours,
    name: WalFileName,
    (system, now): (Option<SystemId>, Timestamp),
    walk: Walk,
) -> Result<Option<Facts>, Error> {
    let candidate = Candidate { name, path: layout::archived(&name) };
    let opened = Detected::open(WalSource::Incoming, &catalog.wals_dir()?, &candidate, catalog.wal_storage())?;
    let Some(mut file) = opened else { return Ok(None) };
    file.walk = walk;
    let system = expected_cluster(catalog, &file, system)?;
    let (finding, observation) = look(catalog, neighbours, &mut file, (system, now))?;
    let observation = match (observation, &finding) {
        (Some(observation), _) => observation,
        (None, Finding::Refused(refusal)) => misplaced(catalog, &mut file, refusal)?,
        // Shorter than it should be, and written a moment ago: Barman is about to rename it.
        (None, _) => return Ok(None),
    };
    let stored = match observation.facts.raw.filter(|_| file.encoding == Encoding::Plain) {
        Some(raw) => raw,
        None => stored_content(&mut file)?,
    };
    neighbours.looked_at(&observation);
    // What was seen before it was encrypted is worth more than that it cannot be seen any more.
    let noted = if observation.facts.raw.is_none() { catalog.noted_of(&name, stored).ok().flatten() } else { None };
    Ok(Some(noted.unwrap_or(Facts { stored, ..observation.facts })))
}

/// Judges a file that is to be called `name` and is complete; `None` if it is gone.
pub(crate) fn judge_arrival(
    catalog: &Catalog,
    neighbours: &mut Neighbours,
    (dir, path): (&Dir, &RelativePath),
    name: WalFileName,
    system: Option<SystemId>,
) -> Result<Result<Option<Facts>, Refusal>, Error> {
    // It is complete: at the end of time nothing is growing any more.
    let now = Timestamp::from_pg_micros(i64::MAX);
    let candidate = Candidate { name, path: path.clone() };
    let opened = Detected::open(WalSource::Incoming, dir, &candidate, catalog.wal_storage())?;
    let Some(mut file) = opened else { return Ok(Ok(None)) };
    let (finding, observation) = look(catalog, neighbours, &mut file, (system, now))?;
    match (observation, finding) {
        (Some(observation), _) => {
            neighbours.looked_at(&observation);
            Ok(Ok(Some(observation.facts)))
        }
        (None, Finding::Refused(refusal)) => Ok(Err(refusal)),
        (None, _) => Ok(Ok(None)),
    }
}

/// A file that does not belong where it is: nothing in it can be believed, from where its name says that it begins.
fn misplaced(catalog: &Catalog, file: &mut Detected, refusal: &Refusal) -> Result<Observation, Error> {
    let size = catalog.segment_size()?.unwrap_or(SegmentSize::DEFAULT);
    let at = match file.entry.name {
        WalFileName::Segment(name) | WalFileName::Partial(name) => name.start(size).unwrap_or(Lsn::MAX),
        WalFileName::BackupLabel { .. } | WalFileName::History(_) => Lsn::MAX,
    };
    let what = refusal.explain();
    let raw = sum_up(file, |_| ()).ok();
    Ok(Observation { facts: facts(file, raw, Verdict::Damaged { at, what }, None), border: None })
}
