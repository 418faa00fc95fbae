//! The WAL receiver of one server: its slot, its lock, its start and its end.

mod archiver;
mod reset;
mod slot;

use crate::{Error, Server};
use archiver::Archiver;
use barman_backup::{ReceiverEvent, ReceiverOptions, Reconnect, Synchronous};
use barman_catalog::{Lock, ServerProgress};
use barman_config::{Command, CreateSlot};
use barman_storage::Cancel;
pub use reset::Reset;
use wal_format::{SystemId, Timestamp, WalFileName};

/// What a receiver tells, and what happens before WAL flows.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReceiveWalEvent<'a> {
    /// A file in `streaming/` was named ahead of the server and would have led astray: it was moved to `errors/`.
    Quarantined {
        /// Its name.
        name: WalFileName,
        /// Its name in `errors/`.
        moved_to: String,
    },
    /// The receiver's own words.
    Receiver(&'a ReceiverEvent<'a>),
}

/// How one server's WAL is received.
pub struct ReceiveWal<'a> {
    /// Tells the time.
    pub clock: fn() -> Timestamp,
    /// Ends the receiver in good order.
    pub cancel: &'a Cancel,
    /// The process that the lock file names instead of this one: whoever wants the receiver to end signals it.
    pub process: Option<u32>,
    /// Called for each event, on the receiver's task: it must not block.
    pub events: &'a (dyn Fn(&ReceiveWalEvent<'_>) + Send + Sync),
}

impl Server {
    /// Receives WAL into `streaming/` until it is cancelled, and archives each segment as soon as it is complete. One
    /// process a server does so: the lock sees to it.
    ///
    /// Once WAL has flowed, it connects again whenever the connection breaks.
    ///
    /// # Errors
    /// Streaming is off or not possible as configured, another receiver runs, or the stream broke for a reason that does
    /// not pass. What was received is safe, and the next receiver goes on from there.
    pub async fn receive_wal(&self, receive: &ReceiveWal<'_>) -> Result<(), Error> {
        self.refuse_unsupported(Command::ReceiveWal)?;
        if !self.config().streaming_archiver {
            return Err(Error::StreamingOff);
        }
        self.catalog().create_directories()?;
        let lock = self.lock("receive-wal", Lock::ReceiveWal)?;
        if let Some(process) = receive.process {
            lock.name_process(process).map_err(|source| Error::LockFile { server: self.name().to_owned(), source })?;
        }
        let system = Self::unless_cancelled(receive.cancel, self.prepare_to_receive(receive)).await?;
        let streaming = self.catalog().streaming_dir()?;
        let connection = self.wal_stream_connection()?;
        let options = self.receiver_options(system)?;
        let archiver = Archiver::start(self.clone(), system, receive.clock);
        let report = |event: &ReceiverEvent<'_>| {
            match event {
                ReceiverEvent::SegmentFinished { segment } => archiver.archive(WalFileName::Segment(*segment)),
                ReceiverEvent::HistoryStored { timeline } => archiver.archive(WalFileName::History(*timeline)),
                _ => {}
            }
            (receive.events)(&ReceiveWalEvent::Receiver(event));
        };
        let received = barman_backup::receive(&connection, &streaming, &options, receive.cancel, &report).await;
        archiver.finish().await;
        received?;
        Ok(())
    }

    /// Makes sure that it is the right cluster, and that `streaming/` does not lead astray. Returns the cluster.
    async fn prepare_to_receive(&self, receive: &ReceiveWal<'_>) -> Result<SystemId, Error> {
        let mut client = self.replication_client().await?;
        let server = client.identify_system().await?;
        self.check_identity(server.system_id)?;
        let progress = ServerProgress {
            system_id: server.system_id,
            timeline: server.timeline,
            position: server.position,
            segment_size: client.wal_segment_size().await?,
        };
        for (name, moved_to) in self.catalog().quarantine_strays(&progress, (receive.clock)())? {
            (receive.events)(&ReceiveWalEvent::Quarantined { name, moved_to: moved_to.to_string() });
        }
        Ok(server.system_id)
    }

    fn receiver_options(&self, system: SystemId) -> Result<ReceiverOptions, Error> {
        let config = self.config();
        let mut options = ReceiverOptions::default();
        options.slot.clone_from(&config.slot_name);
        options.create_slot = config.create_slot == CreateSlot::Auto;
        options.sql = Some(self.wal_connection()?);
        options.system = Some(system);
        options.archive = Some(self.catalog().clone());
        options.synchronous = Synchronous::IfNamed(config.streaming_archiver_name.clone());
        options.reconnect = Some(Reconnect::default());
        Ok(options)
    }
}
