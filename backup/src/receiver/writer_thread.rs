//! The one thread that touches the files of a stream.

use bytes::Bytes;
use replication_client::Durable;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use wal_format::{Lsn, SegmentName};

use super::error::ReceiveError;
use super::segment_writer::SegmentWriter;

/// How many messages of up to 128 KiB wait for the disk: enough to keep it busy, and 512 KiB at the most, because there may
/// be many receivers in a process.
const CAPACITY: usize = 4;

/// What the connection asks of the thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Write these bytes, the first of which lies at `start`.
    Write { start: Lsn, data: Bytes },
    /// Make durable what was written before.
    Sync,
}

/// What the thread has done.
#[derive(Debug)]
pub(super) enum Report {
    /// Everything before this is written, though perhaps not durable.
    Written(Lsn),
    /// This much is durable.
    Durable(Durable),
    /// A segment is durable under its final name.
    Finished(SegmentName),
}

/// Both ends of a running writer thread.
///
/// Commands are bounded, so a slow disk slows the server down. Reports are not: there are a few for each command, and
/// two sides that wait for each other's channel would wait forever.
#[derive(Debug)]
pub(super) struct WriterThread {
    pub(super) commands: Sender<Command>,
    pub(super) reports: UnboundedReceiver<Report>,
    task: JoinHandle<Result<(), ReceiveError>>,
}

impl WriterThread {
    /// Starts a thread that writes and syncs until the command channel closes.
    ///
    /// `synchronous` makes it sync whenever it has caught up, with one sync for all that had arrived.
    pub(super) fn start(writer: SegmentWriter, synchronous: bool) -> Self {
        let (commands, received) = mpsc::channel(CAPACITY);
        let (reported, reports) = mpsc::unbounded_channel();
        let work = Work { writer, synchronous, reports: reported };
        // Not a task: a sync can take seconds, and nothing else on the runtime must wait for it.
        let task = tokio::task::spawn_blocking(move || work.run(received));
        Self { commands, reports, task }
    }

    /// Gives the thread one last command, waits until it has written and synced everything, and returns how it ended.
    ///
    /// # Errors
    /// What the thread failed with: nothing after its last [`Report::Durable`] is to be believed.
    ///
    /// # Panics
    /// The thread panicked.
    pub(super) async fn finish(
        mut self,
        last: Option<Command>,
        mut note: impl FnMut(Report),
    ) -> Result<(), ReceiveError> {
        if let Some(command) = last {
            // It fails only if the thread has ended already, and then the thread says why.
            let _ = self.commands.send(command).await;
        }
        drop(self.commands);
        while let Some(report) = self.reports.recv().await {
            note(report);
        }
        match self.task.await {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

struct Work {
    writer: SegmentWriter,
    synchronous: bool,
    reports: UnboundedSender<Report>,
}

impl Work {
    fn run(mut self, mut commands: Receiver<Command>) -> Result<(), ReceiveError> {
        while let Some(command) = commands.blocking_recv() {
            let mut sync_wanted = self.synchronous;
            sync_wanted |= self.carry_out(command)?;
            // One sync serves all that waits, but does not wait itself for what arrives without end.
            for command in std::iter::from_fn(|| commands.try_recv().ok()).take(CAPACITY) {
                sync_wanted |= self.carry_out(command)?;
            }
            if sync_wanted {
                self.sync()?;
            }
        }
        self.sync()
    }

    /// Returns whether the command asks for a sync.
    fn carry_out(&mut self, command: Command) -> Result<bool, ReceiveError> {
        match command {
            Command::Sync => Ok(true),
            Command::Write { start, data } => self.write(start, &data).map(|()| false),
        }
    }

    fn write(&mut self, mut at: Lsn, mut data: &[u8]) -> Result<(), ReceiveError> {
        while !data.is_empty() {
            data = self.writer.write(at, data)?;
            at = self.writer.position();
            if let Some((segment, durable)) = self.writer.finish_segment()? {
                self.report(Report::Durable(durable));
                self.report(Report::Finished(segment));
            }
        }
        self.report(Report::Written(at));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), ReceiveError> {
        if let Some(durable) = self.writer.sync()? {
            self.report(Report::Durable(durable));
        }
        Ok(())
    }

    fn report(&self, report: Report) {
        // Nobody listens any more when the receiver was dropped. What arrived is written and synced all the same.
        let _ = self.reports.send(report);
    }
}
