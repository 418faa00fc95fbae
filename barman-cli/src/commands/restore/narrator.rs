//! What a restore says while it is carried out.

use crate::context::Context;
use crate::progress::Progress;
use barman_pitr::{PlannedTablespace, RestoreEvent, RestorePlan};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Says what a restore is doing.
pub(super) struct Narrator<'a> {
    context: &'a Context,
    /// A line for each tablespace: where it goes.
    tablespaces: Vec<String>,
    /// The bar, and how many bytes it stands for by now.
    progress: Mutex<Option<(Progress, u64)>>,
}

impl<'a> Narrator<'a> {
    pub(super) fn new(context: &'a Context, plan: &RestorePlan) -> Self {
        let line = |tablespace: &PlannedTablespace| {
            format!("\t{}, {}, {}", tablespace.oid, tablespace.name, tablespace.location.display())
        };
        Self { context, tablespaces: plan.tablespaces.iter().map(line).collect(), progress: Mutex::new(None) }
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
            RestoreEvent::WritingArchiveStatus => output.info("Generating archive status files"),
            RestoreEvent::WritingRecoverySettings => output.info("Generating recovery configuration"),
            RestoreEvent::ReviewingConfiguration => {
                output.info("Identify dangerous settings in destination directory.");
            }
            _ => self.end(),
        }
    }

    fn begin(&self, line: &str, bytes: u64) {
        self.end();
        self.context.output.info(line);
        *self.lock() = Some((Progress::start(&self.context.output, "Copying", bytes), 0));
    }

    fn copied(&self, bytes: u64) {
        if let Some((progress, done)) = self.lock().as_mut() {
            *done += bytes;
            progress.set(*done);
        }
    }

    fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Progress, u64)>> {
        // Only a panic while drawing could poison it, and the number is right all the same.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
