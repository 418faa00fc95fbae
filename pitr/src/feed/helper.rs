//! The process that fetches ahead.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use barman_catalog::Partial;
use barman_storage::{Dir, RelativePath, Unpublished, one_line};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wal_format::{SegmentName, SegmentSize, TimelineHistory, WalFileName};

use super::nest::Nest;
use super::process::HelperProcess;
use super::question::{Answer, LONGEST_LINE, Question};
use super::recovering::Postmaster;
use super::ring::{Had, Job, Ring};
use super::{FeedError, RecoveringServer, WalSource, delivery};

/// One for what is asked for, and as many as are ever fetched ahead at a time.
const WORKERS: usize = 5;

/// The most that is held, in bytes; never more than a quarter of what is free.
const MOST_BYTES: u64 = 512 * 1024 * 1024;

/// How often to look whether the server still recovers.
const LOOK: Duration = Duration::from_secs(1);

/// How long to stay when nothing is asked for.
const IDLE: Duration = Duration::from_secs(300);

/// How long a call may take to say what it wants, and to take what it is given.
const CALL: Duration = Duration::from_secs(10);

/// Fetches ahead for a server and answers its calls, until the server ends, has recovered, asks for nothing for five minutes,
/// or `process` is told to end. Nothing is left in its directory then. Returns at once if another helper does that already.
///
/// Threads of this process may still be fetching when this returns: it is to end then.
///
/// # Errors
/// The directory cannot be used.
pub fn help(source: Arc<dyn WalSource>, server: &RecoveringServer, process: &HelperProcess) -> Result<(), FeedError> {
    let Some(postmaster) = Postmaster::of(server) else { return Ok(()) };
    let Some(nest) = Nest::claim(server)? else { return Ok(()) };
    let listener = nest.listen().map_err(FeedError::Helper)?;
    let size = server.segment_size().unwrap_or(SegmentSize::DEFAULT);
    let mut ring = Ring::new(size);
    server.history().into_iter().for_each(|history| ring.learn(history));
    let shared = Arc::new(Shared {
        ring: Mutex::new(State { ring, ended: false }),
        changed: Condvar::new(),
        dir: nest.dir.clone(),
        source,
    });
    for _ in 0..WORKERS {
        let shared = Arc::clone(&shared);
        thread::Builder::new().spawn(move || shared.work()).map_err(FeedError::Helper)?;
    }
    Helper { server, postmaster, nest: &nest, shared: &shared, process }.serve(&listener);
    // First, so that nothing new is made in the directory that is removed now.
    shared.end();
    process.end_children();
    Ok(())
}

/// The thread that answers.
struct Helper<'a> {
    server: &'a RecoveringServer,
    postmaster: Postmaster,
    nest: &'a Nest,
    shared: &'a Shared,
    process: &'a HelperProcess,
}

impl Helper<'_> {
    fn serve(&self, listener: &UnixListener) {
        let (mut asked_at, mut answered_at) = (Instant::now(), None);
        while self.is_needed() && asked_at.elapsed() < IDLE {
            self.wait(listener);
            if let Ok((stream, _)) = listener.accept() {
                // The time since the last answer is what the server took to replay that segment.
                let using = answered_at.map(|at: Instant| at.elapsed());
                // A call that was killed is not the helper's end.
                let _ = self.attend(&stream, using);
                asked_at = Instant::now();
                answered_at = Some(asked_at);
            }
        }
    }

    /// Waits for a call, the end of the server, a signal, or the time to look.
    fn wait(&self, listener: &UnixListener) {
        let signals = self.process.signals();
        let mut waited = vec![PollFd::new(listener, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        let handle = self.postmaster.handle();
        waited.extend(handle.as_ref().map(|handle| PollFd::new(handle, PollFlags::IN)));
        // A failure means looking too soon.
        let _ = poll(&mut waited, Timespec::try_from(LOOK).ok().as_ref());
    }

    fn is_needed(&self) -> bool {
        !self.process.is_to_end()
            && self.postmaster.serves(self.server)
            && self.server.is_recovering()
            && self.nest.exists()
    }

    /// Answers one call.
    fn attend(&self, mut stream: &UnixStream, using: Option<Duration>) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(CALL))?;
        stream.set_write_timeout(Some(CALL))?;
        let mut line = String::new();
        BufReader::new(stream).take(LONGEST_LINE).read_line(&mut line)?;
        let Ok(question) = line.trim_end_matches('\n').parse::<Question>() else {
            return writeln!(stream, "{}", Answer::Failed("the question is not understood".to_owned()));
        };
        let had = self.ask(question, using);
        let (answer, file) = match had {
            Some(Had::File(file)) => (Answer::Ready(file.path().as_path().display().to_string()), Some(file)),
            Some(Had::Missing) => (Answer::Missing, None),
            Some(Had::Failed(reason)) => (Answer::Failed(reason), None),
            None => (Answer::Failed("the server has ended".to_owned()), None),
        };
        writeln!(stream, "{answer}")?;
        // It hangs up when it has taken the file; what it does not take is removed.
        let hung_up = stream.read(&mut [0; 1]).map(drop);
        drop(file);
        hung_up
    }

    /// Waits for what the server asks for; `None` if it stops needing it.
    fn ask(&self, question: Question, using: Option<Duration>) -> Option<Had<Unpublished>> {
        let mut state = self.shared.lock();
        if let (Some(using), WalFileName::Segment(_)) = (using, question.name) {
            state.ring.pace.used(using);
        }
        let free = self.shared.dir.free_space().unwrap_or(0);
        state.ring.set_room((free / 4).min(MOST_BYTES));
        state.ring.ask(question);
        self.shared.changed.notify_all();
        loop {
            if let Some(had) = state.ring.take_answer() {
                self.learn(&mut state.ring, question.name, &had);
                self.shared.changed.notify_all();
                return Some(had);
            }
            let (woken, timeout) =
                self.shared.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() && !self.is_needed() {
                return None;
            }
        }
    }

    /// What the server is given of the history of timelines says which segments it will ask for.
    fn learn(&self, ring: &mut Ring<Unpublished>, name: WalFileName, had: &Had<Unpublished>) {
        const LONGEST: u64 = 1024 * 1024;
        let (WalFileName::History(timeline), Had::File(file)) = (name, had) else { return };
        let text = self.shared.dir.read(&file.path(), LONGEST).ok().flatten().unwrap_or_default();
        TimelineHistory::parse(timeline, &text).into_iter().for_each(|history| ring.learn(history));
    }
}

/// What the threads share.
struct Shared {
    ring: Mutex<State>,
    changed: Condvar,
    dir: Dir,
    source: Arc<dyn WalSource>,
}

struct State {
    ring: Ring<Unpublished>,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Fetches what there is to fetch, until the end.
    fn work(&self) {
        while let Some(job) = self.next_job() {
            match job {
                Job::Asked(question) => {
                    let begun = Instant::now();
                    let had = self.fetch(question);
                    let mut state = self.lock();
                    if let (Had::File(_), WalFileName::Segment(_)) = (&had, question.name) {
                        state.ring.pace.fetched(begun.elapsed());
                    }
                    state.ring.answer(had);
                }
                Job::Ahead(number, names) => {
                    let begun = Instant::now();
                    let had = self.fetch_first(&names);
                    let mut state = self.lock();
                    if had.is_some() {
                        state.ring.pace.fetched(begun.elapsed());
                    }
                    state.ring.hold(number, had);
                }
            }
            self.changed.notify_all();
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(job) = state.ring.next_job() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fetches the first that exists. An unfinished one may have grown until it is asked for, so it is not fetched ahead.
    fn fetch_first(&self, names: &[SegmentName]) -> Option<(SegmentName, Unpublished)> {
        for name in names {
            match self.fetch(Question { name: WalFileName::Segment(*name), partial: Partial::Exclude }) {
                Had::File(file) => return Some((*name, file)),
                Had::Missing => {}
                // Whether it is missing is not known, so neither is whether the next one is to be read.
                Had::Failed(_) => return None,
            }
        }
        None
    }

    fn fetch(&self, question: Question) -> Had<Unpublished> {
        let name = question.name;
        let fetched = RelativePath::new(name.to_string())
            .map_err(|_| FeedError::Destination(name.to_string().into()))
            .and_then(|path| delivery::fetch(&*self.source, question, true, &self.dir, &path));
        match fetched {
            Ok(Some(file)) => Had::File(file),
            Ok(None) => Had::Missing,
            Err(error) => Had::Failed(one_line(&error)),
        }
    }
}
