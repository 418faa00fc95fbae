//! Taking a backup: the record first, the copy, then the record that makes it count.

mod event;
mod interrupted;
mod older_wal;
mod position;
mod request;
mod taking;

pub use event::{BackupEvent, Events};
pub use position::WalPosition;
pub use request::{BackupRequest, Wait};

use crate::{Error, Server, one_line};
use barman_catalog::{BackupInfo, BackupMode, IngestEvent, Lock, Status};
use barman_config::Command;
use barman_storage::Cancel;
use taking::Taking;
use wal_format::{Timestamp, WalFileName};

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
        Self::unless_cancelled(cancel, self.check_ready_for_backup(request, clock())).await?;
        self.catalog().create_directories()?;
        let lock = self.lock("backup", Lock::Backup)?;
        self.fail_interrupted_backups()?;
        let mut info = Self::unless_cancelled(cancel, self.begin_record(request, clock())).await?;
        let outcome = Taking { server: self, request, clock, cancel }.run(&mut info, events).await;
        if let Err(error) = &outcome {
            self.record_failure(&mut info, error);
        }
        drop(lock);
        outcome?;
        let info = self.archive_end_of_backup(request, &info, clock, cancel, events).await?;
        // What is older has been archived after the first purge.
        if let Err(error) = self.finish_purge_unless_busy() {
            tracing::warn!(target: "barman.backup", "older WAL stays for now: {}", one_line(&error));
        }
        Ok(info)
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

    /// Where even that fails, the record goes on saying `STARTED`, and the next backup or cron corrects it: what the user
    /// has to know is the first error.
    fn record_failure(&self, info: &mut BackupInfo, error: &Error) {
        // A record without a start is of a backup that never began to copy.
        let action = if info.status == Status::Empty { "starting backup" } else { "copying files" };
        info.status = Status::Failed;
        info.error = Some(format!("failure {action} ({})", one_line(error)));
        if let Err(error) = self.catalog().save(info) {
            tracing::error!(target: "barman.backup", "the failure is not recorded: {}", one_line(&error));
        }
    }

    /// Archives what the backup needs, as far as it has arrived or the caller wants to wait, and returns the record with
    /// the status that follows from it.
    async fn archive_end_of_backup(
        &self,
        request: &BackupRequest,
        info: &BackupInfo,
        clock: &dyn Fn() -> Timestamp,
        cancel: &Cancel,
        events: &Events<'_>,
    ) -> Result<BackupInfo, Error> {
        let id = &info.backup_id;
        let mut archived = |event: IngestEvent<'_>| events(BackupEvent::Archive(&event));
        let (Wait::For(timeout), Some(end)) = (request.wait, info.end_wal) else {
            self.archive_wal_in_turn(None, clock(), cancel, &mut archived)?;
            return self.check_backup(id);
        };
        let segment = WalFileName::Segment(end);
        events(BackupEvent::WaitingForWal { segment, timeout });
        let mut when_done = || Ok(Some(self.check_backup(id)?).filter(|info| info.status == Status::Done));
        self.archive_until(&mut when_done, &segment, timeout, clock, cancel, &mut archived).await
    }
}
