//! Copying a cluster, and what its record says at each step.

use super::event::{BackupEvent, Events};
use super::position::WalPosition;
use super::request::BackupRequest;
use crate::postgres::{ClusterFacts, Postgres};
use crate::{Error, Server, one_line};
use barman_backup::{BaseBackupEvent, BaseBackupOptions, BaseBackupResult};
use barman_catalog::{BackupId, BackupInfo, BackupTime, CopyStats, Identity, Status, Tablespace};
use barman_storage::Cancel;
use replication_client::{Client, Mode};
use std::time::{Duration, Instant};
use wal_format::{SystemId, Timestamp};

/// One backup on its way: the record exists, and its files follow.
pub(super) struct Taking<'a> {
    pub(super) server: &'a Server,
    pub(super) request: &'a BackupRequest,
    pub(super) clock: &'a dyn Fn() -> Timestamp,
    pub(super) cancel: &'a Cancel,
}

impl Taking<'_> {
    pub(super) async fn run(&self, info: &mut BackupInfo, events: &Events<'_>) -> Result<(), Error> {
        let catalog = self.server.catalog();
        let id = info.backup_id;
        events(BackupEvent::Starting { id, destination: catalog.layout().backup_path(&id) });
        let (mut sql, facts) = Server::unless_cancelled(self.cancel, self.ask_for_facts()).await?;
        self.write_identity(info.systemid, facts.version_num)?;
        let start = self.record_start(info, &mut sql, &facts, events).await?;

        let external = facts.external_configuration();
        if !external.is_empty() && !self.server.config().external_configuration {
            events(BackupEvent::ExternalConfiguration(external));
        }

        let started = Instant::now();
        events(BackupEvent::CopyStarted(id));
        let copy = self.copy_with_retries(info, events).await?;
        events(BackupEvent::CopyDone(started.elapsed()));
        record_copy(info, &copy, &facts, started.elapsed());
        info.tablespaces = self.copied_tablespaces(&mut sql, &copy, &facts).await;
        info.end_time = Some(BackupTime::in_zone((self.clock)(), catalog.zone()));
        info.status = Status::WaitingForWals;
        self.server.announce_purge(&id);
        // The data is durable by now, so the record may speak of it (invariant 3).
        catalog.save(info)?;

        if let Some(removed) = self.server.purge_before_first(&id) {
            events(BackupEvent::FirstBackup { removed });
        }
        self.create_restore_point(&mut sql, &facts, &id).await;
        events(BackupEvent::Size(copy.size));
        events(BackupEvent::EndPosition(WalPosition::at(copy.end, copy.end_timeline, facts.segment_size)));
        events(BackupEvent::Completed { start, elapsed: started.elapsed() });
        Ok(())
    }

    async fn ask_for_facts(&self) -> Result<(Postgres, ClusterFacts), Error> {
        let mut sql = self.server.connect().await?;
        let facts = sql.cluster_facts().await?;
        Ok((sql, facts))
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
            let pause = async {
                tokio::time::sleep(after).await;
                Ok(())
            };
            Server::unless_cancelled(self.cancel, pause).await?;
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

    /// Returns the tablespaces that were copied: one may have come or gone since the backup was asked for. SQL knows their
    /// names; one that is gone again by now is called by its number.
    async fn copied_tablespaces(
        &self,
        sql: &mut Postgres,
        copy: &BaseBackupResult,
        facts: &ClusterFacts,
    ) -> Option<Vec<Tablespace>> {
        let known = sql.tablespaces().await.unwrap_or_default();
        let name = |oid: u32| {
            let found = known.iter().chain(&facts.tablespaces).find(|tablespace| tablespace.oid == oid);
            found.map_or_else(|| oid.to_string(), |tablespace| tablespace.name.clone())
        };
        let copied = copy.tablespaces.iter().filter_map(|copied| {
            let (oid, location) = (copied.oid?, copied.location.clone()?);
            Some(Tablespace { name: name(oid), oid, location })
        });
        Some(copied.collect::<Vec<_>>()).filter(|copied| !copied.is_empty())
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
    let end = WalPosition::at(copy.end, copy.end_timeline, facts.segment_size);
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
