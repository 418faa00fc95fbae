//! Taking a backup: the record first, the copy, then the record that makes it count.

mod interrupted;
mod position;

use crate::postgres::{ClusterFacts, Postgres};
use crate::{Error, Server, one_line};
use barman_backup::{BaseBackupEvent, BaseBackupOptions, BaseBackupResult};
use barman_catalog::{BackupId, BackupInfo, BackupMode, BackupTime, CopyStats, Identity, IngestEvent, Lock, Status};
use barman_config::Command;
use barman_storage::Cancel;
pub use position::WalPosition;
use replication_client::{Client, Mode};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wal_format::{SystemId, Timestamp, WalFileName};

/// How a backup is to be taken.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// What the user calls it.
    pub name: Option<String>,
    /// Whether the server begins with an immediate checkpoint.
    pub immediate_checkpoint: bool,
    /// The highest rate in kB (1024 bytes) per second.
    pub bandwidth_limit_kb: Option<u32>,
    /// How often a copy that failed for a passing reason is tried again.
    pub retries: u32,
    /// How long to wait before each of those.
    pub retry_sleep: Duration,
    /// Whether to wait until the WAL that the backup needs is archived.
    pub wait: Wait,
    /// How long the checks before it may take.
    pub check_timeout: Option<Duration>,
}

/// Who is told what happens. Copying reports from another thread.
pub type Events<'a> = dyn Fn(BackupEvent<'_>) + Send + Sync + 'a;

/// Whether to wait for the WAL that ends a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until it is there, or for as long as the duration says.
    For(Option<Duration>),
}

/// What happens during a backup, in this order; times are the Barman host's.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackupEvent<'a> {
    /// The record exists.
    Starting {
        /// The backup.
        id: BackupId,
        /// Where its files will be.
        destination: PathBuf,
    },
    /// The server was asked where it is.
    StartPosition(WalPosition),
    /// Copying begins.
    CopyStarted(BackupId),
    /// Copying goes on.
    Copy(&'a BaseBackupEvent),
    /// Copying failed for a passing reason and will be tried again.
    Retrying {
        /// Why it failed.
        reason: String,
        /// After how long.
        after: Duration,
    },
    /// Every file is there, verified and synced.
    CopyDone(Duration),
    /// There was no backup before this one, so WAL before it has no use: these files were removed.
    FirstBackup {
        /// Their names.
        removed: Vec<String>,
    },
    /// Sum of the file sizes, in bytes.
    Size(u64),
    /// Where the backup is consistent.
    EndPosition(WalPosition),
    /// The record says that the backup is complete but for its WAL.
    Completed {
        /// When copying started.
        start: Timestamp,
        /// How long it took.
        elapsed: Duration,
    },
    /// Waiting for the segment that the end position is in.
    WaitingForWal {
        /// The segment.
        segment: WalFileName,
        /// For how long at most.
        timeout: Option<Duration>,
    },
    /// WAL was archived.
    Archive(&'a IngestEvent<'a>),
}

impl Server {
    /// Takes a backup and returns its record: `DONE`, or `WAITING_FOR_WALS` where the WAL that it needs is still on its
    /// way.
    ///
    /// # Errors
    /// Why there is none. If the record exists by then, it says `FAILED` and why.
    pub async fn backup(
        &self,
        request: &BackupRequest,
        clock: &dyn Fn() -> Timestamp,
        cancel: &Cancel,
        events: &Events<'_>,
    ) -> Result<BackupInfo, Error> {
        self.refuse_unsupported(Command::Backup)?;
        self.check_ready_for_backup(request, clock()).await?;
        self.catalog().create_directories()?;
        let lock = self.lock("backup", Lock::Backup)?;
        self.fail_interrupted_backups()?;
        let mut info = self.begin_record(request, clock()).await?;
        let outcome = Taking { server: self, request, clock, cancel }.run(&mut info, events).await;
        if let Err(error) = &outcome {
            self.record_failure(&mut info, error)?;
        }
        drop(lock);
        outcome?;
        self.archive_end_of_backup(request, &info, clock, cancel, events).await?;
        Ok(self.catalog().check_backup(&info.backup_id)?)
    }

    async fn check_ready_for_backup(&self, request: &BackupRequest, now: Timestamp) -> Result<(), Error> {
        let report = self.check(request.check_timeout, now).await;
        let failed: Vec<String> = report.backup_obstacles().map(ToString::to_string).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::NotReadyForBackup { server: self.name().to_owned(), failed })
    }

    /// Writes the record of a backup of which nothing exists yet, so that it is never found without one.
    async fn begin_record(&self, request: &BackupRequest, now: Timestamp) -> Result<BackupInfo, Error> {
        let system_id = self.identify_system().await?.system_id;
        self.check_identity(system_id)?;
        let mut info = BackupInfo::new(self.catalog().next_backup_id(now)?, self.name());
        info.backup_name.clone_from(&request.name);
        info.mode = Some(BackupMode::Postgres);
        info.systemid = Some(system_id);
        self.catalog().save(&info)?;
        Ok(info)
    }

    fn record_failure(&self, info: &mut BackupInfo, error: &Error) -> Result<(), Error> {
        info.status = Status::Failed;
        info.error = Some(format!("failure copying files ({})", one_line(error)));
        Ok(self.catalog().save(info)?)
    }

    /// Archives what the backup needs, as far as it has arrived or the caller wants to wait.
    async fn archive_end_of_backup(
        &self,
        request: &BackupRequest,
        info: &BackupInfo,
        clock: &dyn Fn() -> Timestamp,
        cancel: &Cancel,
        events: &Events<'_>,
    ) -> Result<(), Error> {
        let (Wait::For(timeout), Some(end)) = (request.wait, info.end_wal) else {
            let mut archived = |event: IngestEvent<'_>| events(BackupEvent::Archive(&event));
            return self.archive_wal_unless_busy(clock(), cancel, &mut archived);
        };
        let segment = WalFileName::Segment(end);
        events(BackupEvent::WaitingForWal { segment, timeout });
        let mut archived = |event: IngestEvent<'_>| events(BackupEvent::Archive(&event));
        self.wait_for_wal(&segment, timeout, clock, cancel, &mut archived).await
    }

    pub(crate) fn lock(&self, task: &'static str, lock: Lock) -> Result<barman_storage::LockFile, Error> {
        self.catalog().lock(lock).map_err(|error| match error {
            barman_catalog::LockError::Catalog(error) => error.into(),
            _ => Error::Busy { task, server: self.name().to_owned() },
        })
    }
}

/// One backup on its way.
struct Taking<'a> {
    server: &'a Server,
    request: &'a BackupRequest,
    clock: &'a dyn Fn() -> Timestamp,
    cancel: &'a Cancel,
}

impl Taking<'_> {
    async fn run(&self, info: &mut BackupInfo, events: &Events<'_>) -> Result<(), Error> {
        let catalog = self.server.catalog();
        let id = info.backup_id;
        events(BackupEvent::Starting { id, destination: catalog.layout().backup_path(&id) });
        let mut sql = self.server.connect().await?;
        let facts = sql.cluster_facts().await?;
        self.write_identity(info.systemid, facts.version_num)?;
        let start = self.record_start(info, &mut sql, &facts, events).await?;

        let started = Instant::now();
        events(BackupEvent::CopyStarted(id));
        let copy = self.copy_with_retries(info, events).await?;
        events(BackupEvent::CopyDone(started.elapsed()));
        record_copy(info, &copy, &facts, started.elapsed());
        info.end_time = Some(BackupTime::in_zone((self.clock)(), catalog.zone()));
        info.status = Status::WaitingForWals;
        // The data is durable by now, so the record may speak of it (invariant 3).
        catalog.save(info)?;

        self.purge_before_first(&id, events)?;
        self.create_restore_point(&mut sql, &facts, &id).await;
        events(BackupEvent::Size(copy.size));
        events(BackupEvent::EndPosition(WalPosition::at(copy.end, copy.timeline, facts.segment_size)));
        events(BackupEvent::Completed { start, elapsed: started.elapsed() });
        Ok(())
    }

    fn write_identity(&self, system_id: Option<SystemId>, version_num: u32) -> Result<(), Error> {
        let Some(system_id) = system_id else {
            return Ok(());
        };
        let version = (version_num / 10_000).to_string();
        Ok(self.server.catalog().write_identity(&Identity { system_id, version })?)
    }

    /// Records where the server is before the copy: the label will say it more exactly, but until then this is what a
    /// reader of the record can know.
    async fn record_start(
        &self,
        info: &mut BackupInfo,
        sql: &mut Postgres,
        facts: &ClusterFacts,
        events: &Events<'_>,
    ) -> Result<Timestamp, Error> {
        let identity = self.server.identify_system().await?;
        let position = WalPosition::at(sql.current_lsn().await?, identity.timeline, facts.segment_size);
        let start = (self.clock)();
        record_facts(info, facts);
        info.begin_time = Some(BackupTime::in_zone(start, self.server.catalog().zone()));
        info.begin_xlog = Some(position.lsn);
        info.begin_wal = Some(position.segment);
        info.begin_offset = Some(position.offset);
        info.timeline = Some(identity.timeline);
        info.status = Status::Started;
        self.server.catalog().save(info)?;
        events(BackupEvent::StartPosition(position));
        Ok(start)
    }

    async fn copy_with_retries(&self, info: &BackupInfo, events: &Events<'_>) -> Result<BaseBackupResult, Error> {
        let mut attempts_left = self.request.retries;
        loop {
            let error = match self.copy(info, events).await {
                Ok(copy) => return Ok(copy),
                Err(error) => error,
            };
            if attempts_left == 0 || !error.is_transient() {
                return Err(error);
            }
            attempts_left -= 1;
            let after = self.request.retry_sleep;
            events(BackupEvent::Retrying { reason: one_line(&error), after });
            tokio::time::sleep(after).await;
        }
    }

    async fn copy(&self, info: &BackupInfo, events: &Events<'_>) -> Result<BaseBackupResult, Error> {
        let options = BaseBackupOptions {
            fast_checkpoint: self.request.immediate_checkpoint,
            max_rate_kb: self.request.bandwidth_limit_kb,
            // Whether its WAL is archived here is what counts, and the record says so. The server would wait for its own
            // archiver, for ever if that is broken.
            wait_for_archive: false,
            ..BaseBackupOptions::default()
        };
        let client = Client::connect(&self.server.backup_connection()?, Mode::PhysicalReplication).await?;
        let (catalog, id) = (self.server.catalog().clone(), info.backup_id);
        let create = move |oids: &[u32]| catalog.create_backup_data(&id, oids);
        let report = |event: &BaseBackupEvent| events(BackupEvent::Copy(event));
        Ok(barman_backup::run(client, &options, create, self.cancel, &report).await?)
    }

    /// Without an older backup nothing can use older WAL.
    fn purge_before_first(&self, id: &BackupId, events: &Events<'_>) -> Result<(), Error> {
        let catalog = self.server.catalog();
        if self.server.config().worm_mode {
            return Ok(());
        }
        let Some(plan) = catalog.plan_purge(id)? else {
            return Ok(());
        };
        let mut removed = Vec::new();
        catalog.purge(&plan, |name| removed.push(name.to_string()))?;
        events(BackupEvent::FirstBackup { removed });
        Ok(())
    }

    /// Marks the end of the backup in the WAL, for people who look for it there; nothing depends on it.
    async fn create_restore_point(&self, sql: &mut Postgres, facts: &ClusterFacts, id: &BackupId) {
        if facts.in_recovery {
            return;
        }
        if let Err(error) = sql.create_restore_point(&format!("barman_{id}")).await {
            tracing::warn!(target: "barman.postgres", "no restore point for backup {id}: {}", one_line(&error));
        }
    }
}

fn record_facts(info: &mut BackupInfo, facts: &ClusterFacts) {
    info.version = Some(facts.version_num);
    info.pgdata = Some(facts.data_directory.clone());
    info.config_file = Some(facts.config_file.clone());
    info.hba_file = Some(facts.hba_file.clone());
    info.ident_file = Some(facts.ident_file.clone());
    info.included_files = (!facts.included_files.is_empty()).then(|| facts.included_files.clone());
    info.tablespaces = (!facts.tablespaces.is_empty()).then(|| facts.tablespaces.clone());
    info.cluster_size = Some(facts.cluster_size);
    info.data_checksums = Some(facts.data_checksums.clone());
    info.summarize_wal.clone_from(&facts.summarize_wal);
    info.xlog_segment_size = facts.segment_size;
}

/// Replaces the provisional start by that of the label, and adds the end.
fn record_copy(info: &mut BackupInfo, copy: &BaseBackupResult, facts: &ClusterFacts, elapsed: Duration) {
    let begin = WalPosition::at(copy.start, copy.timeline, facts.segment_size);
    let end = WalPosition::at(copy.end, copy.timeline, facts.segment_size);
    info.backup_label = Some(copy.label_text.clone());
    info.timeline = Some(copy.timeline);
    info.begin_xlog = Some(begin.lsn);
    info.begin_wal = Some(begin.segment);
    info.begin_offset = Some(begin.offset);
    info.end_xlog = Some(end.lsn);
    info.end_wal = Some(end.segment);
    info.end_offset = Some(end.offset);
    info.size = Some(copy.size);
    info.deduplicated_size = Some(copy.size);
    // Microseconds, as Barman records them.
    let seconds = Duration::from_micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)).as_secs_f64();
    info.copy_stats = Some(CopyStats::new(seconds, seconds));
}
