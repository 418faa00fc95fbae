//! Moving WAL into the archive.
//!
//! One pipeline for every way in. A file goes through these stages, in this order:
//!
//! | stage | what happens |
//! |---|---|
//! | detect | its encoding is told by its first bytes; what is compressed is decompressed in all that follows |
//! | check | its header must be of this cluster and say what its name says (invariant 5); a history must read as one |
//! | observe | its records are read, once, and judged together with those of its neighbours (invariant 5) |
//! | wrap | it is compressed and encrypted as configured, on all cores and ahead of its turn, unless it arrived so |
//! | announce | what it holds is noted in the ledger, durably, if the archive will not tell: because it is encrypted, say |
//! | publish | its bytes get their name in the archive, durably (invariant 2) |
//! | record | its line is added to the index, durably; what is known of it is written into the ledger |
//! | remove | it vanishes from where it arrived, which tells its sender that the archive has it (invariant 1) |
//!
//! From announce on, Barman's lock on the index is held. Files that have passed the stages before go through these together,
//! up to [`TOGETHER`] of them, so that each directory and the index are synced once for all.
//!
//! # When it is interrupted
//! The order of the last three stages is what makes every moment safe (invariant 7). A file that is published and not
//! recorded is still where it arrived: the next run finds it archived with the same contents and adds the line. A file
//! that is recorded and not removed is found with its line, and only removed. A line that was cut short is completed or
//! removed when the index is opened next.

mod ahead;
mod check;
mod detect;
mod event;
mod followers;
mod gap;
mod observe;
mod partial;
mod publish;
mod walk;

use std::ffi::OsString;
use std::time::Duration;

use barman_storage::{Dir, RelativePath};
use wal_format::{SegmentHeader, SegmentSize, SystemId, WalFileName};

use crate::archive::errors::{Kind, move_to_errors};
use crate::archive::ledger::Ledger;
use crate::archive::source::{Batch, Candidate};
use crate::catalog::DIRECTORY_MODE;
use crate::{ArchivedFile, Catalog, Error, Facts, HookDecision, Verdict, WalSource, layout};

use ahead::{Ahead, Workshop};
use check::Finding;
pub use check::{Refusal, Unverified};
use detect::Detected;
pub use event::{IngestEvent, IngestOptions, IngestSummary};
pub(crate) use followers::judge_followers;
pub use gap::Gap;
use observe::Observation;
pub(crate) use observe::{Neighbours, judge, judge_arrival, observe_stored};
pub(crate) use publish::is_archived_otherwise;
use publish::{Due, Outcome, Places};
pub(crate) use walk::Walk;

impl Catalog {
    /// Archives what is due in one directory. Call it with [`Lock::ArchiveWal`](crate::Lock) held; without it nothing is
    /// lost, but two runs may both report a file.
    ///
    /// # Errors
    /// A file cannot be read: it stays where it is, and the others are archived. A file cannot be archived or recorded: it
    /// stays, and so do those after it.
    pub fn ingest(
        &self,
        source: WalSource,
        options: &IngestOptions<'_>,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<IngestSummary, Error> {
        let mut run = Run::new(self, source, options, events)?;
        let batch = Batch::collect(source, &run.dir, options.batch_size)?;
        (run.events)(IngestEvent::Started { source, files: batch.files.len(), candidates: batch.candidates });
        run.archive_batch(&batch)?;
        run.clear_away(&batch.unknown)?;
        let ended = run.end_of_run();
        self.read_what_barman_archived(options);
        ended
    }

    /// Reads some of the files that the ledger does not know. It is not what the run is for, and can wait.
    fn read_what_barman_archived(&self, options: &IngestOptions<'_>) {
        /// As many as a second is enough for: what an archive had before there was a ledger is read bit by bit.
        const FILES: usize = 64;
        if let Err(error) = self.catch_up_ledger(FILES, options.now, options.cancel) {
            tracing::warn!(%error, "the ledger is not up to date: see rebuild-ledger");
        }
    }

    /// Archives one file that is known to be complete, whatever else is there: the receiver's way in.
    ///
    /// # Errors
    /// The file cannot be read, archived or recorded; it stays where it is.
    pub fn ingest_file(
        &self,
        source: WalSource,
        name: WalFileName,
        options: &IngestOptions<'_>,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<IngestSummary, Error> {
        let mut run = Run::new(self, source, options, events)?;
        run.archive_all(&[Candidate { name, path: layout::wal_file(&name) }])?;
        run.end_of_run()
    }

    /// The cluster whose WAL belongs here: the recorded one, else the one that the caller is connected to, else that of the
    /// WAL which is archived already.
    pub(crate) fn system_id(&self, connected: Option<SystemId>) -> Result<Option<SystemId>, Error> {
        match self.recorded_system_id()?.or(connected) {
            Some(system_id) => Ok(Some(system_id)),
            None => self.archived_system_id(),
        }
    }

    /// Returns the cluster whose WAL and backups belong here, by `identity.json`, else by the newest backup that says so.
    ///
    /// # Errors
    /// The identity or a record cannot be read.
    pub fn recorded_system_id(&self) -> Result<Option<SystemId>, Error> {
        match self.identity()? {
            Some(identity) => Ok(Some(identity.system_id)),
            None => Ok(self.backups()?.iter().rev().find_map(|info| info.systemid)),
        }
    }

    /// The cluster that the newest archived segment is of which can be read, among the last ones.
    fn archived_system_id(&self) -> Result<Option<SystemId>, Error> {
        /// What cannot be read in so many files is encrypted, or a disk that is gone.
        const LAST: usize = 16;
        for newest in self.last_archived_segments(LAST)? {
            let name = WalFileName::Segment(newest);
            if let Some(records) = self.facts(&name).ok().flatten().and_then(|facts| facts.records) {
                return Ok(Some(records.system_id));
            }
            let candidate = Candidate { name, path: layout::archived(&name) };
            match Detected::open(WalSource::Incoming, &self.wals_dir()?, &candidate, self.wal_storage()) {
                Ok(file) => {
                    let header = file.and_then(|file| SegmentHeader::parse(&file.head).ok());
                    if let Some(header) = header {
                        return Ok(Some(header.system_id));
                    }
                }
                Err(error) => tracing::warn!(%error, "the archived segment {name} does not say which cluster it is of"),
            }
        }
        Ok(None)
    }

    /// How long the cluster's segments are: what the newest backup says that got so far as to know.
    pub(crate) fn segment_size(&self) -> Result<Option<SegmentSize>, Error> {
        let backups = self.backups()?;
        Ok(backups.iter().rev().find(|info| info.status.is_copied()).map(|info| info.xlog_segment_size))
    }
}

/// How many files are archived together at most: enough that their syncs take less time than all else, few enough that
/// Barman's lock on the index is held for moments.
const TOGETHER: usize = 16;

/// What is due is archived without the next file if that takes longer to prepare: so that no segment waits for more than a
/// second where compressing each takes many. Meanwhile nothing else is to be done here.
const PATIENCE: Duration = Duration::from_millis(60);

/// One run over one directory.
struct Run<'a> {
    catalog: &'a Catalog,
    source: WalSource,
    dir: Dir,
    wals: Dir,
    options: &'a IngestOptions<'a>,
    events: &'a mut dyn FnMut(IngestEvent<'_>),
    /// The cluster that WAL must be of; without any other knowledge, that of the first segment.
    system_id: Option<SystemId>,
    ledger: Ledger,
    neighbours: Neighbours,
    /// How many it has.
    files: usize,
    summary: IngestSummary,
    /// Why the first file could not be read of those that could not.
    unreadable: Option<Error>,
}

impl<'a> Run<'a> {
    fn new(
        catalog: &'a Catalog,
        source: WalSource,
        options: &'a IngestOptions<'a>,
        events: &'a mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<Self, Error> {
        let system_id = catalog.system_id(options.system_id)?;
        let dir = Dir::create(source.directory(catalog.layout()), DIRECTORY_MODE)?;
        let wals = catalog.wals_dir()?;
        let ledger = catalog.ledger()?;
        let (neighbours, summary) = (Neighbours::default(), IngestSummary::default());
        let (files, unreadable) = (0, None);
        Ok(Self {
            catalog,
            source,
            dir,
            wals,
            options,
            events,
            system_id,
            ledger,
            neighbours,
            files,
            summary,
            unreadable,
        })
    }

    /// Archives a batch, and for each file of it that cannot be read one behind it: else a few of them would keep all others
    /// waiting for ever.
    fn archive_batch(&mut self, batch: &Batch) -> Result<(), Error> {
        let (mut files, mut later) = (batch.files.as_slice(), batch.later.as_slice());
        while !files.is_empty() {
            let before = self.summary.unreadable;
            self.archive_all(files)?;
            (files, later) = later.split_at(later.len().min(self.summary.unreadable - before));
        }
        Ok(())
    }

    fn end_of_run(self) -> Result<IngestSummary, Error> {
        self.unreadable.map_or(Ok(self.summary), Err)
    }

    fn archive_all(&mut self, files: &[Candidate]) -> Result<(), Error> {
        let workshop = Workshop {
            wals: self.wals.clone(),
            dir: self.dir.clone(),
            source: self.source,
            storage: self.catalog.wal_storage(),
        };
        self.files = files.len();
        workshop.ahead_of(files, self.options.cancel, |ahead| {
            let mut due = Vec::new();
            let looked_at = self.look_at_each(files, ahead, &mut due);
            // Whatever ended it, what was looked at before is sound.
            let archived = self.archive(&mut due);
            looked_at.and(archived)
        })
    }

    /// Looks at the files in their order, and archives them together as they become due.
    fn look_at_each(&mut self, files: &[Candidate], ahead: &mut Ahead, due: &mut Vec<Due>) -> Result<(), Error> {
        for (candidate, number) in files.iter().zip(1..) {
            self.options.cancel.check()?;
            if self.options.hooks.surround_archiving() {
                self.archive(due)?;
            }
            // Gone: another run, of ours or of Barman, was faster.
            let opened = Detected::open(self.source, &self.dir, candidate, self.catalog.wal_storage());
            let Some(mut file) = self.if_readable(candidate, number, opened)?.flatten() else {
                ahead.next();
                continue;
            };
            if self.before(&file) == HookDecision::Stop {
                (self.events)(IngestEvent::Stopped(file.entry.name));
                break;
            }
            let looked_at = self.look(&mut file);
            let prepared = match ahead.next_within(PATIENCE) {
                Some(prepared) => prepared,
                None => {
                    self.archive(due)?;
                    ahead.next()
                }
            };
            let Some(looked_at) = self.if_readable(candidate, number, looked_at)? else { continue };
            match looked_at {
                (finding, Some(observation)) => due.push(Due { number, file, finding, observation, prepared }),
                (finding, None) => {
                    self.archive(due)?;
                    self.leave(&file, number, &finding)?;
                }
            }
            // The segments behind a history are judged by it: it has to be there before them.
            let is_history = matches!(candidate.name, WalFileName::History(_));
            if due.len() >= TOGETHER || is_history {
                self.archive(due)?;
            }
        }
        Ok(())
    }

    /// Passes over a file that cannot be read, on a bad sector or because of its mode: those behind it are no worse for that.
    /// That they are archived first shows as a gap, until it can be read.
    fn if_readable<T>(
        &mut self,
        candidate: &Candidate,
        number: usize,
        looked_at: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match looked_at {
            Err(Error::Storage(error)) if error.path() == layout::shown(&self.dir, &candidate.path) => {
                (self.events)(IngestEvent::File { name: candidate.name, number, files: self.files });
                (self.events)(IngestEvent::Unreadable { name: candidate.name, error: &error });
                self.summary.unreadable += 1;
                self.unreadable.get_or_insert(error.into());
                Ok(None)
            }
            looked_at => looked_at.map(Some),
        }
    }

    fn look(&mut self, file: &mut Detected) -> Result<(Finding, Option<Observation>), Error> {
        let known = (self.system_id, self.options.now);
        let (finding, observation) = observe::look(self.catalog, &mut self.neighbours, file, known)?;
        if let Some(observation) = &observation {
            self.neighbours.looked_at(observation);
            if let Finding::Sound(Some(header)) = &finding {
                self.system_id = self.system_id.or(Some(header.system_id));
            }
        }
        Ok((finding, observation))
    }

    /// Archives all that is due, but for what turns out to be unreadable. After any other failure none of the rest is: another
    /// try could believe what a failed sync left behind (invariant 2).
    fn archive(&mut self, due: &mut Vec<Due>) -> Result<(), Error> {
        let mut due = std::mem::take(due);
        while !due.is_empty() {
            let places = Places { catalog: self.catalog, source: &self.dir, wals: &self.wals };
            let (outcomes, rest) = publish::publish(places, &mut due, &mut self.ledger, self.options.cancel)?;
            let mut is_other = matches!(outcomes.last(), Some(Outcome::Changed | Outcome::Differs(_)));
            let behind = due.split_off(outcomes.len());
            for (due, outcome) in std::mem::replace(&mut due, behind).into_iter().zip(outcomes) {
                self.end(due, outcome)?;
            }
            if let (Err(_), Some(failed)) = (&rest, due.first()) {
                self.if_readable(&failed.candidate(), failed.number, rest)?;
                due.remove(0);
                is_other = true;
            }
            if is_other {
                self.look_again(&mut due)?;
            }
        }
        Ok(())
    }

    /// Looks at files once more, because the one before them is not archived as it was looked at.
    fn look_again(&mut self, due: &mut Vec<Due>) -> Result<(), Error> {
        self.neighbours = Neighbours::default();
        for mut again in std::mem::take(due) {
            let looked_at = self.look(&mut again.file);
            match self.if_readable(&again.candidate(), again.number, looked_at)? {
                Some((finding, Some(observation))) => due.push(Due { finding, observation, ..again }),
                Some((finding, None)) => self.leave(&again.file, again.number, &finding)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Tells what became of a file, and sees to what follows from it.
    fn end(&mut self, due: Due, outcome: Outcome) -> Result<(), Error> {
        let Due { file, number, finding, observation, .. } = due;
        let name = file.entry.name;
        (self.events)(IngestEvent::File { name, number, files: self.files });
        match outcome {
            Outcome::Archived => {
                self.summary.archived += 1;
                (self.events)(IngestEvent::Archived(&file.entry));
                self.report(&finding, &observation.facts);
                self.look_around(&finding, observation)?;
                self.after(&file, None);
            }
            Outcome::AlreadyArchived => {
                self.summary.already_archived += 1;
                (self.events)(IngestEvent::AlreadyArchived(name));
                self.after(&file, None);
            }
            Outcome::Changed => {}
            Outcome::Differs(stored) => self.refuse(&file, &Refusal::Duplicate { name, stored })?,
        }
        Ok(())
    }

    /// Does not archive a file: it is refused, or its turn comes later.
    fn leave(&mut self, file: &Detected, number: usize, finding: &Finding) -> Result<(), Error> {
        (self.events)(IngestEvent::File { name: file.entry.name, number, files: self.files });
        match finding {
            Finding::Refused(refusal) => self.refuse(file, refusal),
            _ => {
                (self.events)(IngestEvent::Unfinished(file.entry.name));
                Ok(())
            }
        }
    }

    /// Tells of what is wrong with a file that is archived.
    fn report(&mut self, finding: &Finding, facts: &Facts) {
        match (&facts.verdict, finding) {
            (Verdict::Damaged { at, what }, _) => {
                self.summary.damaged += 1;
                (self.events)(IngestEvent::Damaged { name: facts.name, at: *at, what });
            }
            (_, Finding::Unverified(reason)) => (self.events)(IngestEvent::Unverified(facts.name, reason)),
            _ => {}
        }
    }

    /// Looks whether the segments before and after the one that is archived now are there. Those that waited for it are
    /// judged now.
    fn look_around(&mut self, finding: &Finding, observation: Observation) -> Result<(), Error> {
        let Observation { facts, border } = observation;
        if let (WalFileName::Segment(segment), Finding::Sound(Some(header))) = (facts.name, finding)
            && let Some(gap) =
                gap::before(self.catalog, &self.wals, &mut self.neighbours, segment, header.segment_size)?
        {
            (self.events)(IngestEvent::Gap(&gap));
        }
        let state = border.map(|(_, state)| state);
        let judged = match judge_followers(self.catalog, &mut self.ledger, &mut self.neighbours, (&facts, state)) {
            // What the ledger lacks can be found out again.
            Err(Error::Journal { .. }) => Vec::new(),
            judged => judged?,
        };
        for facts in judged {
            if let Verdict::Damaged { at, what } = &facts.verdict {
                (self.events)(IngestEvent::Damaged { name: facts.name, at: *at, what });
            }
        }
        Ok(())
    }

    fn refuse(&mut self, file: &Detected, refusal: &Refusal) -> Result<(), Error> {
        let kind = match refusal {
            Refusal::Duplicate { .. } => Kind::Duplicate,
            _ => Kind::Refused,
        };
        if !file.is_unchanged()? {
            return Ok(());
        }
        let from = (&self.dir, &file.path);
        let moved_to =
            move_to_errors(self.catalog, from, file.path.file_name(), kind, Some(refusal), self.options.now)?;
        match kind {
            Kind::Duplicate => self.summary.duplicates += 1,
            _ => self.summary.refused += 1,
        }
        (self.events)(IngestEvent::Refused { name: file.entry.name, moved_to: &moved_to, reason: refusal });
        self.after(file, Some(&refusal.to_string()));
        Ok(())
    }

    /// Moves what is not WAL out of the way. What is no plain file stays: nothing that delivers WAL makes one.
    fn clear_away(&mut self, names: &[OsString]) -> Result<(), Error> {
        let mut moved = Vec::new();
        for name in names {
            let unusable = |_| Error::Name { directory: self.dir.path().to_owned(), name: name.clone() };
            let path = RelativePath::new(name).map_err(unusable)?;
            match self.dir.stat(&path)?.map(|stat| stat.kind) {
                Some(barman_storage::Kind::File) => {
                    let place = (&self.dir, &path);
                    move_to_errors(self.catalog, place, name, Kind::Unknown, None, self.options.now)?;
                    moved.push(name.clone());
                }
                Some(kind) => {
                    let path = layout::shown(&self.dir, &path);
                    tracing::warn!(path = %path.display(), ?kind, "neither WAL nor a plain file: left where it is");
                }
                None => {}
            }
        }
        if !moved.is_empty() {
            self.summary.unknown += moved.len();
            (self.events)(IngestEvent::Unknown(&moved));
        }
        Ok(())
    }

    fn before(&self, file: &Detected) -> HookDecision {
        let path = layout::shown(&self.dir, &file.path);
        self.options.hooks.before_archive(ArchivedFile { path: &path, entry: &file.entry, error: None })
    }

    fn after(&self, file: &Detected, error: Option<&str>) {
        let path = layout::shown(&self.wals, &layout::archived(&file.entry.name));
        self.options.hooks.after_archive(ArchivedFile { path: &path, entry: &file.entry, error });
    }
}
