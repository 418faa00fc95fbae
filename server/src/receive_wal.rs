//! The WAL receiver of one server: its slot, its lock, its start and its end.

mod archiver;
mod synchronous;

use crate::{Error, Server};
use archiver::Archiver;
use barman_backup::{ReceiverEvent, ReceiverOptions};
use barman_catalog::Lock;
use barman_config::{Command, CreateSlot};
use barman_storage::Cancel;
use replication_client::{Client, ErrorKind, Mode, PhysicalSlot};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use wal_format::{SystemId, Timestamp, WalFileName};

/// What is found out before WAL flows.
struct Prepared {
    system: SystemId,
    /// Whether commits wait until this receiver has synced their WAL.
    synchronous: bool,
}

impl Server {
    /// Receives WAL into `streaming/` until `cancel` is set, and archives each segment as soon as it is complete. One
    /// process a server does so: the lock sees to it.
    ///
    /// # Errors
    /// Streaming is off or not possible as configured, another receiver runs, or the stream broke. What was received
    /// is safe, and the next receiver goes on from there.
    pub async fn receive_wal(
        &self,
        clock: fn() -> Timestamp,
        cancel: &Cancel,
        events: &(dyn Fn(&ReceiverEvent<'_>) + Send + Sync),
    ) -> Result<(), Error> {
        self.refuse_unsupported(Command::ReceiveWal)?;
        if !self.config().streaming_archiver {
            return Err(Error::StreamingOff);
        }
        self.catalog().create_directories()?;
        let _lock = self.lock("receive-wal", Lock::ReceiveWal)?;
        let prepared = Self::unless_cancelled(cancel, self.prepare_to_receive()).await?;
        let streaming = self.catalog().streaming_dir()?;
        let options = self.receiver_options(&prepared)?;
        let connection = self.wal_stream_connection()?;
        let archiver = Archiver::start(self.clone(), prepared.system, clock);
        let report = |event: &ReceiverEvent<'_>| {
            match event {
                ReceiverEvent::SegmentFinished { segment } => archiver.archive(WalFileName::Segment(*segment)),
                ReceiverEvent::HistoryStored { timeline } => archiver.archive(WalFileName::History(*timeline)),
                _ => {}
            }
            events(event);
        };
        let received = barman_backup::receive(&connection, &streaming, &options, cancel, &report).await;
        archiver.finish().await;
        received?;
        Ok(())
    }

    /// Makes sure that it is the right cluster, that there is a slot where the configuration wants one made, and asks
    /// whether commits wait for this receiver.
    async fn prepare_to_receive(&self) -> Result<Prepared, Error> {
        let mut client = self.replication_client().await?;
        let system = client.identify_system().await?.system_id;
        self.check_identity(system)?;
        let standbys = client.show("synchronous_standby_names").await?;
        self.create_slot_if_wanted().await?;
        Ok(Prepared { system, synchronous: synchronous::names(&standbys, &self.config().streaming_archiver_name) })
    }

    fn receiver_options(&self, prepared: &Prepared) -> Result<ReceiverOptions, Error> {
        let mut options = ReceiverOptions::default();
        options.slot.clone_from(&self.config().slot_name);
        options.system = Some(prepared.system);
        options.synchronous = prepared.synchronous;
        options.newest_archived = self.catalog().newest_archived_segments()?.first().copied();
        Ok(options)
    }

    /// Creates the slot that the configuration names, with WAL reserved from now on, and returns its name.
    ///
    /// # Errors
    /// No slot is named, the server cannot be reached, or the slot exists.
    pub async fn create_slot(&self) -> Result<String, Error> {
        self.refuse_unsupported(Command::ReceiveWal)?;
        let name = self.slot_name()?;
        let mut slot = PhysicalSlot::new(name);
        slot.reserve_wal = true;
        self.replication_client().await?.create_physical_slot(&slot).await?;
        Ok(name.to_owned())
    }

    /// Drops the slot that the configuration names, and returns its name.
    ///
    /// # Errors
    /// No slot is named, the server cannot be reached, or the slot is missing or in use.
    pub async fn drop_slot(&self) -> Result<String, Error> {
        self.refuse_unsupported(Command::ReceiveWal)?;
        let name = self.slot_name()?;
        self.replication_client().await?.drop_slot(name, false).await?;
        Ok(name.to_owned())
    }

    /// Returns the slot that the configuration names.
    ///
    /// # Errors
    /// It names none.
    pub fn slot_name(&self) -> Result<&str, Error> {
        let name = self.config().slot_name.as_deref();
        name.ok_or_else(|| Error::NoSlotName { server: self.name().to_owned() })
    }

    async fn replication_client(&self) -> Result<Client, Error> {
        Ok(Client::connect(&self.wal_stream_connection()?, Mode::PhysicalReplication).await?)
    }

    async fn create_slot_if_wanted(&self) -> Result<(), Error> {
        if self.config().create_slot != CreateSlot::Auto || self.config().slot_name.is_none() {
            return Ok(());
        }
        match self.create_slot().await {
            Err(Error::Postgres(error)) if matches!(error.kind(), ErrorKind::SlotExists { .. }) => Ok(()),
            created => created.map(drop),
        }
    }

    /// Asks the running receiver to end, waits until it has, and returns the process it was.
    ///
    /// # Errors
    /// None runs, it may not be signalled, or it does not end within ten seconds.
    pub fn stop_receive_wal(&self) -> Result<u32, Error> {
        const PATIENCE: Duration = Duration::from_secs(10);
        const POLL: Duration = Duration::from_millis(50);
        let holder = || self.catalog().lock_holder(Lock::ReceiveWal);
        let pid = holder()?.ok_or_else(|| self.not_running())?;
        self.interrupt(pid)?;
        let started = Instant::now();
        while holder()?.is_some() {
            if started.elapsed() > PATIENCE {
                return Err(Error::DoesNotStop { task: "receive-wal", pid });
            }
            std::thread::sleep(POLL);
        }
        Ok(pid)
    }

    fn interrupt(&self, pid: u32) -> Result<(), Error> {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| self.not_running())?;
        kill_process(process, Signal::INT).map_err(|error| Error::Signal { pid, source: error.into() })
    }

    fn not_running(&self) -> Error {
        Error::NotRunning { task: "receive-wal", server: self.name().to_owned() }
    }
}
