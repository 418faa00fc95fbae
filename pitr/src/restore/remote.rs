//! Restoring onto another host, through ssh.
//!
//! What is sent is a tar archive, or as many at a time as there are jobs, which `tar` unpacks there: the bytes that are sent
//! are those that were checked. Nothing of ours is needed on that host; its programs are those of every Debian or Red Hat
//! (GNU tar, coreutils, findutils).

mod archive_sink;
mod files_there;
mod pipe;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use barman_storage::{Dir, Kind, RelativePath, RemoteError, RemoteHost, Throttle};
use wal_format::WalFileName;

use super::archive::Unpacking;
use super::configuration::WrittenFile;
use super::destination::{wanted_staging, wanted_tree};
use super::parcel::{Account, Contents, Parcel};
use super::{CONTROL_FILE_BESIDE, FILE_MODE, Restore, RestoreError, RestoreEvent, RestoreReport, plain_name};
use crate::host::{Contents as Found, PlaceFacts};
use crate::marker::Marker;
use crate::plan::{PlannedFile, PlannedTree, PlannedWal, Standing, TreeSource};
use crate::plan_error::PlanError;
use crate::survey::Wanted;

use archive_sink::ArchiveSink;
use files_there::{FilesThere, files_below, names};
use pipe::Pipe;

/// Makes places ready, the data directory first: it loses what a server could be started from (invariant 4), then each gets
/// the marker that is the input.
const PREPARE: &str = r#"
marker=$(cat && echo .) && marker=${marker%.} || exit 1
rm -f -- "$1/global/pg_control" || exit 1
if [ -d "$1/global" ]; then sync -- "$1/global" || exit 1; fi
for place; do
    mkdir -p -- "$place" && chmod 700 "$place" || exit 1
    printf '%s' "$marker" >"$place/.barman-restore.new" || exit 1
    sync -- "$place/.barman-restore.new" || exit 1
    mv -f -- "$place/.barman-restore.new" "$place/.barman-restore" && sync -- "$place" || exit 1
done
"#;

/// Removes what the input names.
const REMOVE: &str = r#"cd "$1" && xargs -0 -r rm -rf --"#;

/// Makes all that is in places durable: at once, and then each file by itself, which tells of every error.
const SYNC: &str = r#"
for place; do
    sync -f -- "$place" || exit 1
    find "$place/" \( -type f -o -type d \) -exec sync -- {} + || exit 1
done
"#;

/// Gives the control file its name (invariant 4). One that is there already is nobody's but ours only if it is done again,
/// since it was not heard what became of it the first time.
const START: &str = r#"
cd "$1/global" || exit 1
if [ -e pg_control ] && [ "$2" = first ]; then echo "$1/global/pg_control is there already" >&2; exit 1; fi
sync -- pg_control.restoring && mv -f -- pg_control.restoring pg_control && sync -- .
"#;

/// Removes the markers.
const UNMARK: &str = r#"for place; do rm -f -- "$place/.barman-restore" && sync -- "$place" || exit 1; done"#;

/// A restore onto another host.
pub(super) struct RemoteRestore<'a> {
    pub(super) restore: &'a Restore<'a>,
    pub(super) host: &'a RemoteHost,
}

/// What files of the backup were that the restore writes anew, and their permissions.
type Originals = BTreeMap<RelativePath, (Vec<u8>, u32)>;

impl RemoteRestore<'_> {
    /// Puts everything into its place; where the connection is lost, as often as the options say.
    pub(super) fn fill(&self) -> Result<RestoreReport, RestoreError> {
        let mut retries = self.restore.options.retries;
        let report = self.with_retries(&mut retries, |is_first| self.fill_all_but_control_file(is_first))?;
        // Invariant 4: only now, when all the rest is durable, can a server be started.
        self.with_retries(&mut retries, |is_first| self.send_control_file(is_first))?;
        // A marker beside the control file means nothing any more, so that a cut in between does no harm.
        self.with_retries(&mut retries, |_| Ok(self.on_places(UNMARK, &[])?))?;
        Ok(report)
    }

    /// Does something that is told whether it is done for the first time.
    fn with_retries<T>(
        &self,
        retries: &mut u32,
        work: impl Fn(bool) -> Result<T, RestoreError>,
    ) -> Result<T, RestoreError> {
        let options = self.restore.options;
        let mut is_first = true;
        loop {
            match work(is_first) {
                Err(error) if is_transient(&error) && *retries > 0 => {
                    *retries -= 1;
                    is_first = false;
                    (self.restore.events)(RestoreEvent::ConnectionLost { pause: options.retry_pause });
                    options.cancel.sleep(options.retry_pause)?;
                }
                done => return done,
            }
        }
    }

    fn fill_all_but_control_file(&self, is_first: bool) -> Result<RestoreReport, RestoreError> {
        let standing = self.standing(is_first)?;
        let plan = self.restore.plan;
        let distrusted = standing == Standing::Interrupted { distrusted: true };
        self.mark(distrusted)?;
        let data = self.clear(&plan.destination, standing, &self.restore.wanted_data(distrusted), false)?;
        let tablespaces = plan.tablespaces.iter().map(|tablespace| {
            self.clear(&tablespace.location, standing, &wanted_tree(&tablespace.tree, distrusted), true)
        });
        let tablespaces = tablespaces.collect::<Result<Vec<_>, _>>()?;
        let staging = self
            .restore
            .staging_outside()
            .map(|wal| self.clear(&wal.destination, standing, &wanted_staging(wal, distrusted), false));
        let staging = staging.transpose()?;
        if distrusted {
            self.mark(false)?;
        }
        let originals = self.send_backup(&data, &tablespaces)?;
        self.send_wal(&data, staging.as_ref())?;
        let report = self.configure(&originals)?;
        (self.restore.events)(RestoreEvent::Syncing);
        if let Err(error) = self.on_places(SYNC, &[]) {
            if !error.is_transient() {
                // Invariant 2: the next attempt believes nothing of what is there. If even this cannot be written, it may.
                let _ = self.mark(true);
            }
            return Err(error.into());
        }
        Ok(report)
    }

    /// Looks at the destination once more, since the plan was made or the connection was lost.
    fn standing(&self, is_first: bool) -> Result<Standing, RestoreError> {
        let plan = self.restore.plan;
        let places = self.places();
        let paths: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
        let facts = plan.host.look(&paths)?;
        let changed = || RestoreError::DestinationChanged { path: plan.destination.clone() };
        let (data, others) = facts.places.split_first().ok_or_else(changed)?;
        let standing = self.restore.restoring().judge(data)?;
        if is_first && standing != plan.standing {
            return Err(match (plan.standing, &data.path) {
                (Standing::Free, path) => RestoreError::NotEmpty { path: path.clone() },
                _ => changed(),
            });
        }
        let tablespaces = plan.tablespaces.iter().map(|tablespace| Some(tablespace.oid)).chain([None]);
        let is_foreign = |(facts, oid): &(&PlaceFacts, Option<u32>)| {
            facts.contents != Found::Nothing && !self.restore.restoring().owns(facts, oid.map(|oid| (oid, &data.data)))
        };
        match others.iter().zip(tablespaces).find(is_foreign) {
            Some((facts, _)) => Err(RestoreError::NotEmpty { path: facts.path.clone() }),
            None => Ok(standing),
        }
    }

    /// The places that are filled: the data directory, tablespaces, that for WAL if it lies outside.
    fn places(&self) -> Vec<PathBuf> {
        let plan = self.restore.plan;
        let mut places = vec![plan.destination.clone()];
        places.extend(plan.tablespaces.iter().map(|tablespace| tablespace.location.clone()));
        places.extend(self.restore.staging_outside().map(|wal| wal.destination.clone()));
        places
    }

    fn on_places(&self, script: &str, input: &[u8]) -> Result<(), RemoteError> {
        let places = self.places();
        let arguments: Vec<&OsStr> = places.iter().map(|place| place.as_os_str()).collect();
        self.host.run_with(script, &arguments, input).map(drop)
    }

    /// Leaves a marker in each place, by which the next attempt recognises what is its own.
    fn mark(&self, distrusted: bool) -> Result<(), RestoreError> {
        let marker = Marker { distrusted, ..self.restore.restoring().marker() };
        Ok(self.on_places(PREPARE, marker.text().as_bytes())?)
    }

    /// Makes a place ready: after this, all that is in it may be a part of what is restored. Returns which files may be.
    fn clear(
        &self,
        place: &Path,
        standing: Standing,
        wanted: &Wanted,
        is_shared: bool,
    ) -> Result<FilesThere, RestoreError> {
        if standing == Standing::Free {
            return Ok(FilesThere::new());
        }
        let found = self.restore.plan.host.found_below(place)?;
        let unwanted = wanted.unwanted(&found).into_iter().filter(|path| !is_shared || path.parent().is_some());
        self.host.run_with(REMOVE, &[place.as_os_str()], &names(unwanted))?;
        if standing == (Standing::Interrupted { distrusted: true }) {
            return Ok(FilesThere::new());
        }
        let files = found.iter().filter(|one| one.kind == Kind::File);
        Ok(files.map(|file| (file.path.clone(), (file.size, file.mode))).collect())
    }

    /// Sends everything but the control file of a backup in files. Returns what the configuration was.
    fn send_backup(&self, data: &FilesThere, tablespaces: &[FilesThere]) -> Result<Originals, RestoreError> {
        let (restore, plan) = (self.restore, self.restore.plan);
        (restore.events)(RestoreEvent::CopyingData { bytes: plan.data_bytes() });
        let limits: Vec<_> = plan.tablespaces.iter().map(|one| restore.throttle_of(&one.name)).collect();
        let tablespaces = plan.tablespaces.iter().zip(tablespaces).zip(&limits);
        let tablespaces = tablespaces.map(|((one, there), limit)| (&one.tree, &one.location, there, limit.as_deref()));
        let data = (&plan.data, &plan.destination, data, restore.throttle.as_deref());
        let trees: Vec<_> = std::iter::once(data).chain(tablespaces).collect();

        let mut originals = match &plan.data.source {
            TreeSource::Files(dir) => self.originals(dir)?,
            TreeSource::Archive(_) => Originals::new(),
        };
        for (tree, to, there, limit) in &trees {
            if tree.source.directory().is_some() {
                self.make_directories(to, tree.directories.iter())?;
            }
            let control_file = std::ptr::eq(*tree, &plan.data).then_some(&plan.control_file);
            originals.extend(self.send_archive(tree, control_file, to, there, *limit)?);
        }
        // Only now: the control file in one of those says how long blocks are.
        for (tree, to, there, limit) in &trees {
            let mut archives = Unpacking::of_ancestors(tree, *limit);
            archives.try_for_each(|unpacking| self.unpack(unpacking, to, there, Vec::new()).map(drop))?;
        }
        trees.iter().try_for_each(|(tree, to, there, limit)| self.send_tree(tree, to, there, *limit))?;
        Ok(originals)
    }

    /// Sends the files of a tree that is in a directory, and those that are put together from such.
    fn send_tree(
        &self,
        tree: &PlannedTree,
        to: &Path,
        there: &FilesThere,
        throttle: Option<&Throttle>,
    ) -> Result<(), RestoreError> {
        let mut parcels: Vec<_> = self.restore.combined_parcels(tree).collect();
        if let TreeSource::Files(source) = &tree.source {
            parcels.extend(tree.files.iter().map(|file| parcel(source, file, &file.to)));
        }
        self.send_all(&parcels, to, there, throttle)
    }

    /// Sends the files of a tree that is in an archive; returns what the configuration was, if it is the data directory's.
    fn send_archive(
        &self,
        tree: &PlannedTree,
        control_file: Option<&PlannedFile>,
        to: &Path,
        there: &FilesThere,
        throttle: Option<&Throttle>,
    ) -> Result<Originals, RestoreError> {
        let TreeSource::Archive(archive) = &tree.source else { return Ok(Originals::new()) };
        let beside: Vec<_> = archive.beside.iter().map(|file| parcel(&archive.dir, file, &file.to)).collect();
        self.send_all(&beside, to, there, throttle)?;
        let kept = if control_file.is_some() { self.restore.rewritten_files() } else { Vec::new() };
        let unpacking = Unpacking::of(tree, control_file, throttle);
        unpacking.map_or(Ok(Originals::new()), |unpacking| self.unpack(unpacking, to, there, kept))
    }

    /// Sends what an archive holds, but what is there already; nor files that are kept here, which are returned. Of what is
    /// there only the SHA-256 can be known, and that of a file in the archive when it has passed by: where the two differ, the
    /// archive is read once more.
    fn unpack(
        &self,
        unpacking: Unpacking<'_>,
        to: &Path,
        there: &FilesThere,
        kept: Vec<RelativePath>,
    ) -> Result<Originals, RestoreError> {
        let may_be_there = |(path, size): &(&RelativePath, Option<u64>)| {
            let found = there.get(path).filter(|_| !kept.contains(path));
            found.is_some_and(|(found, _)| size.is_none_or(|size| size == *found))
        };
        let candidates: Vec<_> = unpacking.files().filter(may_be_there).map(|(path, _)| path).collect();
        let sums = self.sums_there(&candidates, to)?;
        let mut sink = ArchiveSink::new(self.restore, Pipe::open(self.host, to)?, there, sums, kept);
        self.restore.unpack(&unpacking, &mut sink)?;
        if !sink.differing.is_empty() {
            let rest = unpacking.only(&std::mem::take(&mut sink.differing));
            self.restore.unpack(&rest, &mut sink)?;
        }
        sink.pipe.finish()?;
        self.make_directories(to, sink.directories.iter())?;
        Ok(sink.originals)
    }

    fn originals(&self, dir: &Dir) -> Result<Originals, RestoreError> {
        let mut originals = Originals::new();
        for path in self.restore.rewritten_files() {
            let planned = self.restore.plan.data.files.iter().find(|file| file.to == path);
            let Some(file) = planned else { continue };
            let text = dir.read(&file.from, super::LONGEST_FILE_BYTES)?;
            originals.extend(text.map(|text| (path, (text, file.mode))));
        }
        Ok(originals)
    }

    fn make_directories<'d>(
        &self,
        to: &Path,
        directories: impl Iterator<Item = &'d RelativePath>,
    ) -> Result<(), RestoreError> {
        let mut pipe = Pipe::open_new(self.host, to)?;
        for directory in directories {
            pipe.directory(directory)?;
        }
        pipe.finish()
    }

    /// Makes `pg_wal` and sends the WAL of the plan.
    fn send_wal(&self, data: &FilesThere, staging: Option<&FilesThere>) -> Result<(), RestoreError> {
        let (restore, plan) = (self.restore, self.restore.plan);
        let pg_wal = ["pg_wal", "pg_wal/archive_status"].map(RelativePath::literal);
        let staging_in_data = restore.wal_in_data().filter(|_| plan.wal.as_ref().is_some_and(|wal| !wal.is_archived));
        self.make_directories(&plan.destination, pg_wal.iter().chain(&staging_in_data))?;
        let Some(wal) = &plan.wal else { return Ok(()) };
        (restore.events)(RestoreEvent::CopyingWal { bytes: plan.wal_bytes() });
        let below = restore.wal_in_data();
        let there = match &below {
            Some(below) => &files_below(data, below),
            None => staging.unwrap_or(data),
        };
        self.send_all(&wal_parcels(wal), &wal.destination, there, restore.throttle.as_deref())?;
        if wal.is_archived {
            (restore.events)(RestoreEvent::WritingArchiveStatus);
            self.mark_as_archived(wal)?;
        }
        Ok(())
    }

    /// Without these the new server would archive its WAL once more, over that of the original.
    fn mark_as_archived(&self, wal: &PlannedWal) -> Result<(), RestoreError> {
        let mut pipe = Pipe::open_new(self.host, &wal.destination.join("archive_status"))?;
        for (name, _) in wal.files() {
            self.restore.options.cancel.check()?;
            pipe.small_file(&plain_name(format_args!("{name}.done")), FILE_MODE, &[])?;
        }
        pipe.finish()
    }

    /// Sends the configuration as it shall be, and the links to tablespaces.
    fn configure(&self, originals: &Originals) -> Result<RestoreReport, RestoreError> {
        let plan = self.restore.plan;
        let configuration = self.restore.configuration(&|path| Ok(originals.get(path).cloned()))?;
        let mut pipe = Pipe::open_new(self.host, &plan.destination)?;
        for WrittenFile { path, mode, bytes } in &configuration.files {
            pipe.small_file(path, *mode, bytes)?;
        }
        let links = RelativePath::literal("pg_tblspc");
        pipe.directory(&links)?;
        for tablespace in &plan.tablespaces {
            pipe.link(&links.join(&plain_name(tablespace.oid)), &tablespace.location)?;
        }
        pipe.finish()?;
        Ok(configuration.report)
    }

    /// Sends the control file beside its place, and gives it its name when it is whole and durable.
    fn send_control_file(&self, is_first: bool) -> Result<(), RestoreError> {
        let (plan, account) = (self.restore.plan, self.account(self.restore.throttle.as_deref()));
        // From an archive it has come already.
        if let Some(source) = plan.data.source.directory() {
            let beside = RelativePath::literal(CONTROL_FILE_BESIDE);
            let mut pipe = Pipe::open(self.host, &plan.destination)?;
            pipe.send(self.restore, &parcel(source, &plan.control_file, &beside), account)?;
            pipe.finish()?;
        }
        let times = OsStr::new(if is_first { "first" } else { "again" });
        self.host.run(START, &[plan.destination.as_os_str(), times])?;
        Ok(())
    }

    fn account<'t>(&'t self, throttle: Option<&'t Throttle>) -> Account<'t> {
        Account { cancel: &self.restore.options.cancel, throttle, events: self.restore.events }
    }

    /// Sends files, several at a time, the biggest first; but not those that are there.
    fn send_all(
        &self,
        parcels: &[Parcel<'_>],
        to: &Path,
        there: &FilesThere,
        throttle: Option<&Throttle>,
    ) -> Result<(), RestoreError> {
        let may_be_there = |parcel: &&Parcel<'_>| there.get(&parcel.to) == Some(&(parcel.size, parcel.mode));
        let candidates: Vec<_> = parcels.iter().filter(may_be_there).map(|parcel| &parcel.to).collect();
        let sums = self.sums_there(&candidates, to)?;
        let mut order: Vec<&Parcel<'_>> = parcels.iter().collect();
        order.sort_by_key(|parcel| std::cmp::Reverse(parcel.size));
        let next = AtomicUsize::new(0);
        self.restore.in_parallel(order.len(), &|| {
            let mut pipe = None;
            while let Some(parcel) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.restore.options.cancel.check()?;
                if self.is_there(parcel, &sums)? {
                    (self.restore.events)(RestoreEvent::Kept { bytes: parcel.size });
                    continue;
                }
                let pipe = match &mut pipe {
                    Some(pipe) => pipe,
                    none => none.insert(Pipe::open(self.host, to)?),
                };
                pipe.send(self.restore, parcel, self.account(throttle))?;
            }
            pipe.map_or(Ok(()), Pipe::finish)
        })
    }

    fn is_there(&self, parcel: &Parcel<'_>, sums: &HashMap<RelativePath, String>) -> Result<bool, RestoreError> {
        match sums.get(&parcel.to) {
            Some(sum) => Ok(parcel.sha256(self.restore)?.is_some_and(|found| found.to_string() == *sum)),
            None => Ok(false),
        }
    }

    /// Returns the SHA-256 of files that may be there as they should be.
    fn sums_there(
        &self,
        candidates: &[&RelativePath],
        to: &Path,
    ) -> Result<HashMap<RelativePath, String>, RestoreError> {
        let (next, sums) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
        let batches: Vec<_> =
            candidates.chunks(candidates.len().div_ceil(self.restore.options.jobs.get()).max(1)).collect();
        self.restore.in_parallel(batches.len(), &|| {
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                let printed = files_there::sums(self.host, to, batch.iter().copied())?;
                sums.lock().unwrap_or_else(PoisonError::into_inner).extend(printed);
            }
            Ok(())
        })?;
        Ok(sums.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Also while the places were being looked at.
fn is_transient(error: &RestoreError) -> bool {
    match error {
        RestoreError::Remote(error) => error.is_transient(),
        RestoreError::Destination(error) => matches!(&**error, PlanError::Remote(error) if error.is_transient()),
        _ => false,
    }
}

fn parcel<'p>(source: &'p Dir, file: &'p PlannedFile, to: &RelativePath) -> Parcel<'p> {
    let contents = Contents::Stored(source, &file.from);
    Parcel { to: to.clone(), mode: file.mode, size: file.size, checksum: file.checksum.as_ref(), contents }
}

fn wal_parcels(wal: &PlannedWal) -> Vec<Parcel<'_>> {
    let parcel = |name: WalFileName, size, contents| Parcel {
        to: plain_name(name),
        mode: FILE_MODE,
        size,
        checksum: None,
        contents,
    };
    let archived = wal.archived.iter().flat_map(|(dir, files)| {
        files.iter().map(move |file| parcel(file.name, file.size, Contents::Stored(dir, &file.from)))
    });
    let wrapped = wal.wrapped.iter().map(|file| parcel(file.name, file.size, Contents::Wrapped(file)));
    let waiting = wal.waiting.iter().map(|wal| parcel(wal.file.name, wal.file.size, Contents::Waiting(wal)));
    archived.chain(wrapped).chain(waiting).collect()
}
