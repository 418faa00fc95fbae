//! What a restore says while it is carried out.

use crate::context::Context;
use crate::progress::Progress;
use barman_catalog::RestoreWork;
use barman_pitr::{PlannedTablespace, RestoreEvent, RestorePlan};
use barman_server::human;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Says what a restore is doing.
pub(super) struct Narrator<'a> {
    context: &'a Context,
    /// A line for each tablespace: where it goes.
    tablespaces: Vec<String>,
    /// Bytes that were there already.
    kept: AtomicU64,
    state: Mutex<State>,
}

/// What is going on.
#[derive(Default)]
struct State {
    /// The bar, and how many bytes it stands for by now.
    progress: Option<(Progress, u64)>,
    stopwatch: Stopwatch,
}

impl<'a> Narrator<'a> {
    pub(super) fn new(context: &'a Context, plan: &RestorePlan) -> Self {
        let line = |tablespace: &PlannedTablespace| {
            format!("\t{}, {}, {}", tablespace.oid, tablespace.name, tablespace.location.display())
        };
        let tablespaces = plan.tablespaces.iter().map(line).collect();
        Self { context, tablespaces, kept: AtomicU64::new(0), state: Mutex::default() }
    }

    pub(super) fn event(&self, event: RestoreEvent) {
        let output = &self.context.output;
        match event {
            RestoreEvent::CopyingData { bytes } => {
                self.begin("Copying the base backup.", bytes);
                self.tablespaces.iter().for_each(|line| output.info(line));
            }
            RestoreEvent::CopyingWal { bytes } => self.begin("Copying required WAL segments.", bytes),
            RestoreEvent::Copied { bytes } => self.copied(bytes),
            RestoreEvent::Kept { bytes } => {
                self.kept.fetch_add(bytes, Ordering::Relaxed);
                self.lock().advance(bytes);
            }
            RestoreEvent::WritingArchiveStatus => output.info("Generating archive status files"),
            RestoreEvent::WritingRecoverySettings => output.info("Generating recovery configuration"),
            RestoreEvent::ReviewingConfiguration => {
                output.info("Identify dangerous settings in destination directory.");
            }
            RestoreEvent::ConnectionLost { pause } => {
                self.end();
                output.warning(&format!(
                    "the connection to the other host was lost: going on in {} seconds",
                    pause.as_secs()
                ));
            }
            RestoreEvent::Syncing => {
                self.end();
                self.say_what_was_kept();
                // What is not durable yet is mostly data.
                self.lock().stopwatch.start(RestoreWork::CopyData);
            }
            _ => self.end(),
        }
        if let RestoreEvent::CopyingData { .. } = event {
            self.lock().stopwatch.start(RestoreWork::CopyData);
        } else if let RestoreEvent::CopyingWal { .. } = event {
            self.lock().stopwatch.start(RestoreWork::CopyWal);
        }
    }

    /// Returns what was done, with how many bytes and how long it took, now that the restore has ended.
    pub(super) fn measured(&self) -> [(RestoreWork, u64, Duration); 2] {
        let stopwatch = &mut self.lock().stopwatch;
        stopwatch.stop();
        [(RestoreWork::CopyData, stopwatch.data), (RestoreWork::CopyWal, stopwatch.wal)]
            .map(|(work, (bytes, time))| (work, bytes, time))
    }

    /// Whether something was there already, so that the time says nothing of how long copying takes.
    pub(super) fn has_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > 0
    }

    /// Only where something was: Barman has no such line.
    fn say_what_was_kept(&self) {
        match self.kept.load(Ordering::Relaxed) {
            0 => {}
            bytes => self.context.output.info(&format!("{} were there already.", human::size_of(bytes))),
        }
    }

    fn begin(&self, line: &str, bytes: u64) {
        self.end();
        self.context.output.info(line);
        self.lock().progress = Some((Progress::start(&self.context.output, "Copying", bytes), 0));
    }

    fn copied(&self, bytes: u64) {
        let mut state = self.lock();
        state.stopwatch.copied(bytes);
        state.advance(bytes);
    }

    fn end(&self) {
        let mut state = self.lock();
        state.progress = None;
        state.stopwatch.stop();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a panic while drawing could poison it, and the number is right all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves the bar on.
    fn advance(&mut self, bytes: u64) {
        if let Some((progress, done)) = self.progress.as_mut() {
            *done += bytes;
            progress.set(*done);
        }
    }
}

/// How many bytes were copied, and how long that took.
#[derive(Default)]
struct Stopwatch {
    running: Option<(RestoreWork, Instant)>,
    data: (u64, Duration),
    wal: (u64, Duration),
}

impl Stopwatch {
    fn start(&mut self, work: RestoreWork) {
        self.stop();
        self.running = Some((work, Instant::now()));
    }

    fn stop(&mut self) {
        if let Some((work, since)) = self.running.take() {
            self.of(work).1 += since.elapsed();
        }
    }

    fn copied(&mut self, bytes: u64) {
        if let Some((work, _)) = self.running {
            self.of(work).0 += bytes;
        }
    }

    fn of(&mut self, work: RestoreWork) -> &mut (u64, Duration) {
        if work == RestoreWork::CopyWal { &mut self.wal } else { &mut self.data }
    }
}
