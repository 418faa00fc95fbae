//! Each sync of each operation, left out in turn: some loss of power then breaks what the operation promises
//! (invariants 1, 2 and 3). With all of them, none does.
//!
//! Locks are missing here because nothing of theirs is synced: after a loss of power nobody holds one, and a lock file
//! that is lost, empty or left says nothing.

use std::path::{Path, PathBuf};

use barman_catalog::{Status, WalSource};
use barman_retention::Occasion;
use barman_storage::codec::Algorithm;
use barman_storage::testing::{Crash, Loss, Recorder, Recording, Survivors};
use barman_storage::{Cancel, Dir, RelativePath};

use crate::compression::{storing, unreadable, with};
use crate::put_wal::{put, stream};
use crate::repository::{Repository, backup, id, name, options, segment};

/// How many different losses are tried at each position.
const SEEDS: u64 = 12;

const ONE: &str = "20260101T000000";
const TWO: &str = "20260102T000000";
const INDEX: &str = "wals/main-xlog.db";
const NEW_INDEX: &str = "wals/.main-xlog.db.tmp";
const LEDGER: &str = "ledger/0000000100000000";
const SEGMENTS: &str = "wals/0000000100000000";

/// Something that is run on a repository while its changes are recorded.
struct Trial {
    recording: Recording,
    begun: usize,
}

impl Trial {
    /// Records `operation` on what `prepare` made.
    fn of(prepare: impl Fn(&Repository), operation: impl Fn(&Repository)) -> Self {
        Self::after(prepare, |_, _| {}, operation)
    }

    /// As above; what `before` does was never synced.
    fn after(
        prepare: impl Fn(&Repository),
        before: impl Fn(&Repository, &Recorder),
        operation: impl Fn(&Repository),
    ) -> Self {
        let repository = Repository::new();
        prepare(&repository);
        let recorder = Recorder::start(&repository.home);
        before(&Repository::at(&repository.home), &recorder);
        let begun = recorder.position();
        operation(&Repository::at(&repository.home));
        Self { recording: recorder.recording(), begun }
    }

    /// The position of the first sync of this file or directory.
    fn sync_of(&self, path: &str) -> usize {
        let mut syncs = self.recording.syncs().into_iter();
        syncs.find(|&sync| self.synced(sync) == path).unwrap_or_else(|| panic!("{path} is not synced"))
    }

    fn last_sync_of(&self, path: &str) -> usize {
        let mut syncs = self.recording.syncs().into_iter();
        syncs.rfind(|&sync| self.synced(sync) == path).unwrap_or_else(|| panic!("{path} is not synced"))
    }

    fn synced(&self, sync: usize) -> String {
        let path = self.recording.synced(sync).unwrap_or_else(|| PathBuf::from("(no name)"));
        path.strip_prefix("main").unwrap_or(&path).display().to_string()
    }

    /// What is there when all went well.
    fn finally(&self, path: &str) -> Vec<u8> {
        let crash = Crash { position: self.recording.len(), loss: Loss::Nothing };
        file(&self.recording.survivors(crash), path).unwrap_or_else(|| panic!("no {path}")).to_vec()
    }

    /// Checks that the promise holds after every loss of power, and that it does not if one of the syncs of `needed` is left
    /// out. Those of `spare` it holds without.
    #[track_caller]
    fn check(&self, promise: impl Fn(&Survivors, bool) -> bool, needed: &[&str], spare: &[&str]) {
        let end = self.recording.len();
        let holds = |position: usize, left: &Survivors| position < self.begun || promise(left, position == end);
        assert_eq!(self.recording.find_crash(SEEDS, holds), None, "the promise is broken: {:?}", self.recording);
        let syncs = self.recording.syncs().into_iter().filter(|sync| *sync >= self.begun);
        let (broken, kept): (Vec<_>, Vec<_>) =
            syncs.partition(|sync| self.recording.without_sync(*sync).find_crash(SEEDS, holds).is_some());
        let names = |syncs: Vec<usize>| syncs.into_iter().map(|sync| self.synced(sync)).collect::<Vec<_>>();
        let (broken, kept) = (names(broken), names(kept));
        assert_eq!((broken.as_slice(), kept.as_slice()), (&own(needed)[..], &own(spare)[..]), "needed, and not");
    }
}

impl Trial {
    /// Checks that the promise does not hold if this file or directory is never synced.
    #[track_caller]
    fn check_without_all(&self, path: &str, promise: impl Fn(&Survivors, bool) -> bool) {
        let syncs = self.recording.syncs().into_iter().filter(|sync| self.synced(*sync) == path);
        let recording = syncs.fold(self.recording.clone(), |recording, sync| recording.without_sync(sync));
        let end = recording.len();
        let crash = recording.find_crash(SEEDS, |position, left| promise(left, position == end));
        assert!(crash.is_some(), "{path} need not be synced");
    }
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn file<'a>(left: &'a Survivors, path: &str) -> Option<&'a [u8]> {
    left.file(Path::new("main").join(path))
}

fn has(left: &Survivors, path: &str) -> bool {
    left.contains(Path::new("main").join(path))
}

/// Whether the index has a line of this file.
fn is_recorded(left: &Survivors, name: &str) -> bool {
    count(file(left, INDEX).unwrap_or_default(), &format!("{name}\t")) > 0
}

/// How often bytes have a text in them.
fn count(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
}

fn ingest(repository: &Repository) {
    repository.ingest(WalSource::Incoming).expect("a run");
}

fn deliver(repository: &Repository, number: u64, salt: u8) {
    repository.write(&format!("incoming/{}", name(number)), segment(&name(number), salt));
}

/// As `cp` in an `archive_command`: nothing is synced.
fn deliver_as_cp(repository: &Repository, number: u64, content: &[u8]) {
    let incoming = Dir::open(&repository.path("incoming")).expect("a directory");
    let mut file = incoming.create_file(&RelativePath::new(name(number)).expect("a name"), 0o600).expect("created");
    file.write_all(content).expect("written");
}

/// A segment that waits, after one that is archived: what is made once for all is there.
fn waiting(repository: &Repository) {
    deliver(repository, 1, 7);
    ingest(repository);
    deliver(repository, 2, 7);
    repository.backup(ONE, &name(1), &name(1), Status::Done);
    repository.write(&format!("base/{ONE}/data/PG_VERSION"), "15\n");
}

/// Segment 2 is delivered still or recorded, what is recorded is archived, and in the end it is delivered no more.
fn archived(stored: Vec<u8>) -> impl Fn(&Survivors, bool) -> bool {
    archived_as(2, stored)
}

fn archived_as(number: u64, stored: Vec<u8>) -> impl Fn(&Survivors, bool) -> bool {
    let (incoming, path) = (format!("incoming/{}", name(number)), format!("{SEGMENTS}/{}", name(number)));
    let sent = segment(&name(number), 7);
    move |left, done| {
        let delivered = file(left, &incoming) == Some(&sent);
        let (archived, recorded) = (file(left, &path) == Some(&stored), is_recorded(left, &name(number)));
        (delivered || recorded) && (!recorded || archived) && !(done && delivered)
    }
}

#[test]
fn archiving() {
    let trial = Trial::of(waiting, ingest);
    // What was delivered is on disk here, so that it can be promised: see the next test.
    let sent = format!("incoming/{}", name(2));
    trial.check(archived(segment(&name(2), 7)), &[SEGMENTS, INDEX, "incoming"], &[&sent]);
}

/// Segments that wait together share the syncs of the directories and of the index.
#[test]
fn archiving_together() {
    let prepare = |repository: &Repository| {
        waiting(repository);
        [3, 4].iter().for_each(|&number| deliver(repository, number, 7));
    };
    let trial = Trial::of(prepare, ingest);
    let promises = [2, 3, 4].map(|number| archived_as(number, segment(&name(number), 7)));
    let promise = |left: &Survivors, done: bool| promises.iter().all(|promise| promise(left, done));
    let sent = [2, 3, 4].map(|number| format!("incoming/{}", name(number)));
    trial.check(promise, &[SEGMENTS, INDEX, "incoming"], &sent.each_ref().map(String::as_str));
}

/// Its line goes between those that are there: the index is replaced, and not added to.
#[test]
fn archiving_a_segment_that_comes_late() {
    let prepare = |repository: &Repository| {
        waiting(repository);
        repository.write(&format!("{SEGMENTS}/{}", name(3)), segment(&name(3), 7));
        let index = repository.text(INDEX);
        repository.write(INDEX, index.clone() + &index.replace(&name(1), &name(3)));
    };
    let trial = Trial::of(prepare, ingest);
    let is_archived = archived(segment(&name(2), 7));
    let promise = |left: &Survivors, done: bool| {
        is_archived(left, done) && [1, 3].iter().all(|number| is_recorded(left, &name(*number)))
    };
    let sent = format!("incoming/{}", name(2));
    trial.check(promise, &[SEGMENTS, NEW_INDEX, "wals", "incoming"], &[&sent]);
}

/// What is stored as it was delivered is not copied, and whoever delivered it need not have synced it.
#[test]
fn archiving_what_nobody_has_synced() {
    let prepare = |repository: &Repository| {
        deliver(repository, 1, 7);
        ingest(repository);
    };
    let trial = Trial::after(prepare, |repository, _| deliver_as_cp(repository, 2, &segment(&name(2), 7)), ingest);
    let is_archived = archived(segment(&name(2), 7));
    let promise = |left: &Survivors, done: bool| !is_recorded(left, &name(2)) || is_archived(left, done);
    trial.check(promise, &[&format!("incoming/{}", name(2)), SEGMENTS, "incoming"], &[INDEX]);
}

#[test]
fn archiving_compressed() {
    let run = |repository: &Repository| {
        let cancel = Cancel::new();
        let catalog = storing(repository, with(Algorithm::Zstd));
        catalog.ingest(WalSource::Incoming, &options(&cancel), &mut |_| {}).expect("a run");
    };
    let trial = Trial::of(waiting, run);
    let stored = trial.finally(&format!("{SEGMENTS}/{}", name(2)));
    let temporary = format!("{SEGMENTS}/.{}.tmp", name(2));
    trial.check(archived(stored), &[&temporary, SEGMENTS, INDEX, "incoming"], &[]);
}

/// What was in a file that nobody here can read again is known before it has its name.
#[test]
fn archiving_what_nobody_here_can_read_again() {
    let run = |repository: &Repository| {
        let cancel = Cancel::new();
        let catalog = storing(repository, unreadable());
        catalog.ingest(WalSource::Incoming, &options(&cancel), &mut |_| {}).expect("a run");
    };
    let trial = Trial::of(waiting, run);
    let (second, path) = (name(2), format!("{SEGMENTS}/{}", name(2)));
    let is_archived = archived(trial.finally(&path));
    let promise = |left: &Survivors, done: bool| {
        let noted = file(left, LEDGER).is_some_and(|ledger| count(ledger, &second) > 0);
        is_archived(left, done) && (noted || !has(left, &path))
    };
    let temporary = format!("{SEGMENTS}/.{}.tmp", name(2));
    trial.check(promise, &[&temporary, LEDGER, SEGMENTS, INDEX, "incoming"], &["ledger"]);
}

/// Delivered files are synced ahead of their turn. The kernel tells of a failure once, so that another sync would seem good.
#[test]
fn a_file_whose_sync_failed_ahead_of_its_turn_is_not_archived() {
    const EIO: i32 = 5;
    let repository = Repository::new();
    repository.write(&format!("incoming/{}", name(1)), segment(&name(1), 7));
    ingest(&repository);
    for number in [2, 3] {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
    }
    let recorder = Recorder::start(&repository.home);
    recorder.fail_at(recorder.position(), EIO);
    repository.ingest(WalSource::Incoming).expect_err("the sync fails");
    assert_eq!((repository.archived(), repository.names("incoming")), (vec![name(1), name(3)], vec![name(2)]));
}

/// The first run gave the file its name and broke off in front of the sync of that: the second one finds it archived. What it
/// synced is synced once more before it is compared, since nobody knows whose run it was; and so is what is delivered, as
/// wherever a file may be moved.
#[test]
fn archiving_what_an_interrupted_run_has_archived() {
    const EIO: i32 = 5;
    let name_sync = Trial::of(waiting, ingest).sync_of(SEGMENTS);
    let interrupted = |repository: &Repository, recorder: &Recorder| {
        recorder.fail_at(name_sync, EIO);
        repository.ingest(WalSource::Incoming).expect_err("the sync fails");
    };
    let trial = Trial::after(waiting, interrupted, ingest);
    // One file with two names.
    let sent = format!("incoming/{}", name(2));
    let needed = [SEGMENTS, INDEX, "incoming"];
    trial.check(archived(segment(&name(2), 7)), &needed, &[&sent, &sent, &sent, SEGMENTS]);
}

/// The same where what is archived is stored in another form than what is delivered: they cannot be compared by their bytes.
#[test]
fn archiving_compressed_what_an_interrupted_run_has_archived() {
    const EIO: i32 = 5;
    let run = |repository: &Repository| {
        let cancel = Cancel::new();
        let catalog = storing(repository, with(Algorithm::Zstd));
        catalog.ingest(WalSource::Incoming, &options(&cancel), &mut |_| {}).map(drop)
    };
    let whole_run = |repository: &Repository| run(repository).expect("a run");
    let name_sync = Trial::of(waiting, whole_run).sync_of(SEGMENTS);
    let interrupted = |repository: &Repository, recorder: &Recorder| {
        recorder.fail_at(name_sync, EIO);
        run(repository).expect_err("the sync fails");
    };
    let trial = Trial::after(waiting, interrupted, whole_run);
    let path = format!("{SEGMENTS}/{}", name(2));
    let stored = trial.finally(&path);
    trial.check(archived(stored), &[SEGMENTS, INDEX, "incoming"], &[&path, &path, SEGMENTS]);
}

/// Of two unfinished segments the longer one replaces the archived one.
#[test]
fn replacing_an_unfinished_segment() {
    let whole = segment(&name(2), 7);
    let unfinished = |length: usize| {
        let mut bytes = whole[..length].to_vec();
        bytes.resize(whole.len(), 0);
        bytes
    };
    let (shorter, longer) = (unfinished(100_000), unfinished(500_000));
    let partial = format!("{}.partial", name(2));
    let (sent, path) = (format!("incoming/{partial}"), format!("{SEGMENTS}/{partial}"));
    let prepare = |repository: &Repository| {
        repository.write(&sent, &shorter);
        ingest(repository);
        repository.write(&sent, &longer);
    };
    let trial = Trial::of(prepare, ingest);
    let promise = |left: &Survivors, done: bool| {
        let (delivered, archived) = (file(left, &sent), file(left, &path));
        let is_safe = delivered == Some(&longer) || (archived == Some(&longer) && is_recorded(left, &partial));
        // What is known of the shorter one is followed by what is known of this one.
        let is_noted =
            archived != Some(&longer) || file(left, LEDGER).is_some_and(|ledger| count(ledger, &partial) >= 2);
        is_safe && is_noted && [Some(&*shorter), Some(&*longer)].contains(&archived) && !(done && delivered.is_some())
    };
    let temporary = format!("{SEGMENTS}/.{partial}.tmp");
    let needed = [LEDGER, &temporary, SEGMENTS, INDEX, "incoming"];
    trial.check(promise, &needed, &[&sent, NEW_INDEX, "wals", "ledger", "wals"]);
}

#[test]
fn refusing() {
    let wrong = segment(&name(5), 7);
    let prepare = |repository: &Repository| {
        waiting(repository);
        ingest(repository);
        repository.write("errors/before.unknown", "so that the directory is there");
    };
    let path = format!("incoming/{}", name(3));
    let trial = Trial::after(prepare, |repository, _| deliver_as_cp(repository, 3, &wrong), ingest);
    let in_errors = |left: &Survivors, suffix: &str| {
        let mut paths = left.paths().filter(|path| path.starts_with("main/errors"));
        paths.find(|path| path.to_string_lossy().ends_with(suffix)).and_then(|path| left.file(path)).map(<[u8]>::to_vec)
    };
    let promise = |left: &Survivors, done: bool| {
        let refused = in_errors(left, ".refused");
        let reason = in_errors(left, ".refused.reason").is_some_and(|text| text.ends_with(b"\n"));
        let is_whole = refused.as_ref().is_none_or(|refused| *refused == wrong && reason);
        is_whole && (!done || (refused.is_some() && !has(left, &path)))
    };
    let reason = trial.recording.syncs().into_iter().map(|sync| trial.synced(sync));
    let reason = reason.into_iter().find(|path| path.ends_with(".reason.tmp")).expect("a reason");
    trial.check(promise, &[&reason, "errors", &path, "errors", "incoming"], &[]);
}

#[test]
fn taking_what_is_sent() {
    let bytes = [2, 3].map(|number| segment(&name(number), 7));
    let sent = stream(&[(&name(2), &bytes[0]), (&name(3), &bytes[1])]);
    let prepare = |repository: &Repository| deliver(repository, 1, 7);
    let trial = Trial::of(prepare, |repository| drop(put(repository, &sent).expect("taken")));
    let promise = |left: &Survivors, done: bool| {
        [2, 3].into_iter().zip(&bytes).all(|(number, bytes)| {
            let stored = file(left, &format!("incoming/{}", name(number)));
            stored.map_or(!done, |stored| stored == bytes)
        })
    };
    let temporary = |number| format!("incoming/.{}.tmp", name(number));
    // Each file is published by itself; of both names the last sync would do.
    trial.check(promise, &[&temporary(2), &temporary(3), "incoming"], &["incoming"]);
}

/// What is archived with other contents is kept in `errors/` when the sender is told to go on, also if the first run broke off
/// in front of the sync of its name there.
#[test]
fn keeping_what_is_sent_again_and_archived_with_other_contents() {
    const EIO: i32 = 5;
    let other = segment(&name(2), 8);
    let sent = stream(&[(&name(2), &other)]);
    let prepare = |repository: &Repository| {
        waiting(repository);
        ingest(repository);
        repository.write("errors/before.unknown", "so that the directory is there");
    };
    let send = |repository: &Repository| put(repository, &sent).is_ok();
    let first = Trial::of(prepare, |repository| assert!(!send(repository), "refused"));
    let name_sync = first.last_sync_of("errors");
    let interrupted = |repository: &Repository, recorder: &Recorder| {
        recorder.fail_at(name_sync, EIO);
        assert!(!send(repository), "the sync fails");
    };
    let trial = Trial::after(prepare, interrupted, |repository| assert!(send(repository), "it is kept"));
    let promise = |left: &Survivors, done: bool| {
        let mut paths = left.paths().filter(|path| path.starts_with("main/errors"));
        let is_kept = paths.any(|path| left.file(path) == Some(&other));
        let is_archived = file(left, &format!("{SEGMENTS}/{}", name(2))) == Some(&segment(&name(2), 7));
        is_archived && (!done || is_kept)
    };
    // The name of `incoming`, which is empty, and what is dropped again.
    trial.check(promise, &["errors", "incoming"], &["", &format!("incoming/.{}.tmp", name(2))]);
}

fn three_segments(repository: &Repository) {
    for number in 1..=3 {
        deliver(repository, number, 7);
    }
    ingest(repository);
}

#[test]
fn rebuilding_the_index() {
    let old = "old\n";
    let prepare = |repository: &Repository| {
        three_segments(repository);
        repository.write(INDEX, old);
    };
    let trial = Trial::of(prepare, |repository| {
        repository.catalog.rebuild_index().expect("rebuilt");
    });
    let new = trial.finally(INDEX);
    let promise = |left: &Survivors, done: bool| match file(left, INDEX) {
        Some(index) => index == new || (!done && index == old.as_bytes()),
        None => false,
    };
    trial.check(promise, &[NEW_INDEX, "wals"], &[]);
}

#[test]
fn rebuilding_the_ledger() {
    let journal = "ledger/0000000100000000";
    let old = "not a journal at all, and longer than its header";
    let prepare = |repository: &Repository| {
        three_segments(repository);
        repository.write(journal, old);
    };
    let rebuild = |repository: &Repository| {
        let cancel = Cancel::new();
        repository.catalog.rebuild_ledger(options(&cancel).now, &cancel, &mut |_| {}).expect("rebuilt");
    };
    let trial = Trial::of(prepare, rebuild);
    let new = trial.finally(journal);
    let promise = |left: &Survivors, done: bool| {
        let journal = file(left, journal).unwrap_or_default();
        journal == new || (!done && journal == old.as_bytes())
    };
    // The summary may be lost, but the sync of its name would do for the journal's.
    trial.check(promise, &["ledger/.0000000100000000.tmp"], &["ledger", "ledger/.summary.tmp", "ledger"]);
    trial.check_without_all("ledger", promise);
}

/// Files whose lines together are so long that the place up to which the ledger is complete is worth noting. They cannot be
/// read, which is quickest.
pub(crate) fn long_index(repository: &Repository) {
    let mut index = String::new();
    for number in 1..=70 {
        repository.write(&format!("{SEGMENTS}/{}", name(number)), b"\x85\x01\x0c\x03 encrypted");
        index += &format!("{}\t14\t1.0\t{}\tgpg\n", name(number), "long".repeat(250));
    }
    repository.write(INDEX, index);
}

/// The place must not outlive the entries that it speaks of: nobody would look for them any more.
#[test]
fn noting_how_far_the_ledger_is_complete() {
    let catch_up = |repository: &Repository, limit| {
        let cancel = Cancel::new();
        repository.catalog.catch_up_ledger(limit, options(&cancel).now, &cancel).expect("caught up");
    };
    let prepare = |repository: &Repository| {
        long_index(repository);
        catch_up(repository, 67);
    };
    let trial = Trial::of(prepare, |repository| catch_up(repository, 3));
    let journal = "ledger/0000000100000000";
    let whole = trial.finally(journal);
    assert!(!trial.finally("ledger/state").is_empty(), "the place is noted");
    let promise = |left: &Survivors, _| !has(left, "ledger/state") || file(left, journal) == Some(&whole);
    let spare = ["ledger", "ledger/.state.tmp", "ledger", "ledger/.summary.tmp", "ledger"];
    trial.check(promise, &[journal], &spare);
}

/// Lines that are appended together are longer than a sector. Whichever of these survive, the index can be read again, and the
/// next run archives what was not.
#[test]
fn archiving_together_in_several_sectors() {
    let numbers = 2..=17;
    let contents = |number: u64| [b"\x85\x01\x0c\x03 encrypted ", name(number).as_bytes()].concat();
    let prepare = |repository: &Repository| {
        deliver(repository, 1, 7);
        ingest(repository);
        numbers.clone().for_each(|number| repository.write(&format!("incoming/{}", name(number)), contents(number)));
    };
    let trial = Trial::of(prepare, ingest);
    let promise = |left: &Survivors, done: bool| {
        let is_safe = |number| {
            let delivered = has(left, &format!("incoming/{}", name(number)));
            let recorded = is_recorded(left, &name(number));
            let archived = file(left, &format!("{SEGMENTS}/{}", name(number))) == Some(&contents(number));
            (delivered || recorded) && (!recorded || archived) && !(done && delivered)
        };
        numbers.clone().all(is_safe)
    };
    let sent: Vec<_> = numbers.clone().map(|number| format!("incoming/{}", name(number))).collect();
    trial.check(promise, &[SEGMENTS, INDEX, "incoming"], &sent.iter().map(String::as_str).collect::<Vec<_>>());
    let losses = (0..400).map(|seed| Crash { position: trial.sync_of(INDEX), loss: Loss::Seed(seed) });
    let torn = losses.map(|crash| trial.recording.survivors(crash)).filter(is_torn).take(5);
    assert_eq!(torn.inspect(|left| assert!(is_mended(left))).count(), 5);
}

/// Whether an earlier sector of the index was lost, and a later one was not.
fn is_torn(left: &Survivors) -> bool {
    let index = file(left, INDEX).unwrap_or_default();
    index.contains(&0) && !index.ends_with(&[0])
}

/// Whether the index is read, and another run archives all.
fn is_mended(left: &Survivors) -> bool {
    let home = tempfile::tempdir().expect("temporary directory");
    left.write_to(&home.path().join("home")).expect("written");
    let repository = Repository::at(&home.path().join("home"));
    let read = repository.catalog.xlog_db().and_then(|db| db.entries()).is_ok();
    ingest(&repository);
    let mut recorded = repository.recorded();
    recorded.sort();
    read && recorded == (1..=17).map(name).collect::<Vec<_>>()
}

#[test]
fn a_record() {
    let prepare = |repository: &Repository| drop(repository.backup(ONE, &name(1), &name(1), Status::WaitingForWals));
    let done = |repository: &Repository| drop(repository.backup(ONE, &name(1), &name(1), Status::Done));
    let trial = Trial::of(prepare, done);
    let record = format!("meta/{ONE}-backup.info");
    let new = trial.finally(&record);
    let promise = |left: &Survivors, done: bool| {
        let record = file(left, &record).unwrap_or_default();
        record == new || (!done && record.windows(16).any(|window| window == b"WAITING_FOR_WALS"))
    };
    trial.check(promise, &[&format!("meta/.{ONE}-backup.info.tmp"), "meta"], &[]);
}

#[test]
fn the_record_of_a_backup_that_begins() {
    let prepare = |repository: &Repository| drop(repository.backup(TWO, &name(1), &name(1), Status::Done));
    let begin = |repository: &Repository| {
        let info = backup(ONE, &name(1), &name(1), Status::Empty);
        repository.catalog.save(&info).expect("saved");
        repository.catalog.create_backup_data(&id(ONE), &[16386]).expect("directories");
    };
    let trial = Trial::of(prepare, begin);
    let promise = |left: &Survivors, done: bool| {
        let record = file(left, &format!("meta/{ONE}-backup.info"));
        let is_whole = record.is_none_or(|record| record.ends_with(b"\n"));
        let has_data = has(left, &format!("base/{ONE}"));
        let all = [format!("base/{ONE}/data"), format!("base/{ONE}/16386")];
        is_whole && (!has_data || record.is_some()) && (!done || all.iter().all(|path| has(left, path)))
    };
    let (record, data) = (format!("meta/.{ONE}-backup.info.tmp"), format!("base/{ONE}"));
    // An empty `base` may be one whose own name is not durable yet.
    trial.check(promise, &[&record, "meta", "base", &data], &[""]);
}

#[test]
fn purging() {
    // The last segment of a directory, and the first ones of the next.
    let numbers = [4095, 4096, 4097];
    let path = |number| format!("wals/{}/{}", &name(number)[..16], name(number));
    let prepare = |repository: &Repository| {
        numbers.iter().for_each(|number| deliver(repository, *number, 7));
        ingest(repository);
        repository.backup(ONE, &name(4097), &name(4097), Status::Done);
    };
    let purge = |repository: &Repository| {
        let plan = repository.catalog.plan_purge(&id(ONE)).expect("readable").expect("a plan");
        repository.catalog.purge(&plan, |_| {}).expect("purged");
    };
    let trial = Trial::of(prepare, purge);
    let promise = |left: &Survivors, done: bool| {
        numbers.into_iter().all(|number| {
            let (archived, recorded) = (has(left, &path(number)), is_recorded(left, &name(number)));
            if number == 4097 { archived && recorded } else { (archived || !recorded) && (!done || !archived) }
        })
    };
    // What the ledger knows of files that are gone counts for nothing.
    let spare = ["ledger", "ledger/.0000000100000001.tmp", "ledger"];
    trial.check(promise, &[NEW_INDEX, "wals", "wals", "wals/0000000100000001"], &spare);
}

/// While WAL that the first backup does not need may be left, a mark says so as soon as that backup counts: without it, nobody
/// would remove it.
#[test]
fn a_purge_that_is_announced_and_finished() {
    let purge = |repository: &Repository| {
        repository.catalog.mark_purge(&id(ONE)).expect("marked");
        repository.backup(ONE, &name(3), &name(3), Status::Done);
        repository.catalog.finish_purge().expect("finished");
    };
    let prepare = |repository: &Repository| {
        three_segments(repository);
        repository.backup(TWO, &name(1), &name(1), Status::Failed);
    };
    let trial = Trial::of(prepare, purge);
    let older = [1, 2].map(|number| format!("{SEGMENTS}/{}", name(number)));
    let promise = |left: &Survivors, done: bool| {
        let is_marked = file(left, "purging").is_some_and(|mark| mark == format!("{ONE}\n").as_bytes());
        let counts = has(left, &format!("meta/{ONE}-backup.info"));
        let is_left = older.iter().any(|path| has(left, path));
        (!counts || !is_left || is_marked)
            && (counts || older.iter().all(|path| has(left, path)))
            && (!done || (counts && !is_left))
    };
    let record = format!("meta/.{ONE}-backup.info.tmp");
    // Files are found without the index, and a mark that comes back does no harm.
    let journal = "ledger/.0000000100000000.tmp";
    trial.check(promise, &[".purging.tmp", "", "meta", SEGMENTS], &[&record, NEW_INDEX, "wals", journal, "ledger", ""]);
}

/// Of each of these backups: what has a record has its data, its WAL and the lines of that; what is left without a record has
/// a mark, by which the next run finds it; a parent names no child that is gone; and in the end nothing is left. The WAL from `kept` on, which
/// another backup needs, is archived and recorded all the time.
fn deleted(backups: &[(&str, u64)], kept: u64, left: &Survivors, done: bool) -> bool {
    let whole = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| bytes.ends_with(b"\n") && !bytes.contains(&0));
    let record = |backup: &str| file(left, &format!("meta/{backup}-backup.info"));
    let archived = |number: u64| has(left, &format!("{SEGMENTS}/{}", name(number)));
    let is_sound = |(backup, begin): (&str, u64)| {
        let data = ["data/base/1/2", "16386/PG_17/1"].iter().all(|path| has(left, &format!("base/{backup}/{path}")));
        let wal = (begin..=8).all(|number| archived(number) && is_recorded(left, &name(number)));
        let mark = whole(file(left, &format!("meta/{backup}-delete_this")));
        let remains = has(left, &format!("base/{backup}"));
        let is_gone = record(backup).is_none() && !remains && !has(left, &format!("meta/{backup}-delete_this"));
        let can_be_restored = record(backup).is_none() || (whole(record(backup)) && data && wal);
        let names_child = |child: &str| {
            record(backup).unwrap_or_default().windows(child.len()).any(|window| window == child.as_bytes())
        };
        let has_children = [ONE, TWO].iter().all(|child| !names_child(child) || record(child).is_some());
        can_be_restored && has_children && (!remains || record(backup).is_some() || mark) && (!done || is_gone)
    };
    let (last, _) = backups[backups.len() - 1];
    let is_owned = record(last).is_some() || has(left, &format!("meta/{last}-delete_this"));
    let orphans = (1..=3).any(archived);
    let lines = (1..=8).all(|number| match is_recorded(left, &name(number)) {
        true => archived(number),
        false => number < kept,
    });
    backups.iter().all(|backup| is_sound(*backup)) && lines && (!orphans || is_owned)
}

#[test]
fn deleting_a_backup() {
    let delete = |repository: &Repository| {
        crate::delete::delete(repository, &[(ONE, Occasion::Policy)]).expect("deleted");
    };
    let trial = Trial::of(crate::delete::three_backups, delete);
    let mark = format!("meta/.{ONE}-delete_this.tmp");
    let needed = [&mark, "meta", "meta", "wals", SEGMENTS, "base", "meta"];
    let promise = |left: &Survivors, done: bool| deleted(&[(ONE, 2)], 4, left, done);
    // The new index is synced before the old one is locked, and once more under the lock with what was archived meanwhile,
    // which is nothing here: either would do.
    trial.check(promise, &needed, &[NEW_INDEX, NEW_INDEX]);
    trial.check_without_all(NEW_INDEX, promise);
}

/// A record that Barman 3.13.1 or older wrote is removed before the one that replaced it: else it would be the record again.
#[test]
fn deleting_a_backup_with_a_record_at_its_old_place() {
    let old = format!("base/{ONE}/backup.info");
    let prepare = |repository: &Repository| {
        crate::delete::three_backups(repository);
        repository.write(&old, repository.read(&format!("meta/{ONE}-backup.info")));
    };
    let delete = |repository: &Repository| {
        crate::delete::delete(repository, &[(ONE, Occasion::Policy)]).expect("deleted");
    };
    let trial = Trial::of(prepare, delete);
    let promise = |left: &Survivors, done: bool| {
        let is_record_again = has(left, &old) && !has(left, &format!("meta/{ONE}-backup.info"));
        deleted(&[(ONE, 2)], 4, left, done) && !is_record_again
    };
    let (mark, place) = (format!("meta/.{ONE}-delete_this.tmp"), format!("base/{ONE}"));
    let needed = [&mark, "meta", &place, "meta", "wals", SEGMENTS, "base", "meta"];
    trial.check(promise, &needed, &[NEW_INDEX, NEW_INDEX]);
}

/// The mark of the child, the removal of its record and that of its mark are each followed by another sync of their directory
/// before anything builds on them.
#[test]
fn deleting_a_backup_with_its_child() {
    let prepare = |repository: &Repository| {
        crate::delete::three_backups(repository);
        let mut parent = repository.catalog.backup(&id(ONE)).expect("a record");
        parent.children_backup_ids = vec![id(TWO)];
        repository.catalog.save(&parent).expect("saved");
        let mut child = repository.catalog.backup(&id(TWO)).expect("a record");
        child.parent_backup_id = Some(id(ONE));
        repository.catalog.save(&child).expect("saved");
    };
    let delete = |repository: &Repository| {
        crate::delete::delete(repository, &[(TWO, Occasion::Policy), (ONE, Occasion::Policy)]).expect("deleted");
    };
    let trial = Trial::of(prepare, delete);
    let [child, parent] = [TWO, ONE].map(|backup| format!("meta/.{backup}-delete_this.tmp"));
    let record = format!("meta/.{ONE}-backup.info.tmp");
    let needed = [&child, &record, "meta", &parent, "meta", "meta", "wals", "base", SEGMENTS, "base", "meta"];
    let spare = ["meta", "meta", NEW_INDEX, NEW_INDEX, "meta"];
    trial.check(|left, done| deleted(&[(TWO, 4), (ONE, 2)], 6, left, done), &needed, &spare);
}
