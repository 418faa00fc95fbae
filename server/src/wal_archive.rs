//! What is done with the WAL archive as a whole, and how WAL gets into `incoming/`.

use crate::postgres::Postgres;
use crate::{Error, Server, one_line};
use barman_catalog::{ArchiveFault, CatchUp, Due, Facts, Identity, PutWalError, PutWalNote, Rebuilt, Verification};
use barman_config::Command;
use barman_storage::Cancel;
use std::io::Read;
use std::time::Duration;
use wal_format::{SystemId, Timestamp};

impl Server {
    /// Stores the files of a tar stream in `incoming/`, as `barman-wal-archive` sends it. `connected` is what
    /// [`ask_for_cluster`](Self::ask_for_cluster) returned.
    ///
    /// # Errors
    /// The stream does not add up, brings WAL that does not belong here or cannot be believed, or cannot be stored: then
    /// nothing of it is taken.
    pub fn put_wal(
        &self,
        stream: &mut dyn Read,
        connected: Option<SystemId>,
        now: Timestamp,
        note: &mut dyn FnMut(PutWalNote),
    ) -> Result<(), Error> {
        self.refuse_unsupported(Command::ArchiveWal)?;
        self.catalog().put_wal(stream, connected, now, note).map_err(|error| match error {
            PutWalError::Catalog(error) => error.into(),
            error => Error::PutWal(error),
        })
    }

    /// Takes the cluster that the server is now for the one whose WAL and backups belong here, whatever it was before; as
    /// after `pg_upgrade`. Returns the identifier before and the one from now on.
    ///
    /// # Errors
    /// The server cannot be reached or does not say which cluster it is, or the identity cannot be written.
    pub async fn accept_new_system(&self) -> Result<(Option<SystemId>, SystemId), Error> {
        let before = self.catalog().identity()?.map(|identity| identity.system_id);
        let mut sql = self.connect().await?;
        let system_id = self.cluster_of(&mut sql).await?;
        let version = (sql.version_num() / 10_000).to_string();
        self.catalog().create_directories()?;
        self.catalog().replace_identity(&Identity { system_id, version })?;
        Ok((before, system_id))
    }

    /// Asks the server which cluster it is, where neither `identity.json` nor a backup says so: a foreign segment that comes
    /// first must not decide. `None` also if the server does not answer soon, since WAL has to be archived without it as
    /// well; then what is archived already decides, or the first segment.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn ask_for_cluster(&self) -> Result<Option<SystemId>, Error> {
        const PATIENCE: Duration = Duration::from_secs(5);
        if self.config().conninfo.is_none() || self.catalog().recorded_system_id()?.is_some() {
            return Ok(None);
        }
        let asked = async { self.cluster_of(&mut self.connect().await?).await };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(system_id)) => Ok(Some(system_id)),
            Ok(Err(error)) => {
                tracing::debug!("the server does not say which cluster it is: {}", one_line(&error));
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    pub(crate) async fn cluster_of(&self, sql: &mut Postgres) -> Result<SystemId, Error> {
        match sql.system_id().await {
            Some(system_id) => Ok(system_id),
            // The role may not call the function.
            None => Ok(self.identify_system().await?.system_id),
        }
    }

    /// Writes the index of the archive anew.
    ///
    /// # Errors
    /// The archive cannot be read, or the index not written.
    pub fn rebuild_xlogdb(&self) -> Result<Rebuilt, Error> {
        self.refuse_unsupported(Command::ArchiveWal)?;
        Ok(self.catalog().rebuild_index()?)
    }

    /// Makes the ledger anew; every archived file is read. `read` is told of each.
    ///
    /// # Errors
    /// The archive cannot be read, the ledger not written, or the work was cancelled.
    pub fn rebuild_ledger(
        &self,
        now: Timestamp,
        cancel: &Cancel,
        read: &mut dyn FnMut(&Facts),
    ) -> Result<CatchUp, Error> {
        self.refuse_unsupported(Command::ArchiveWal)?;
        Ok(self.catalog().rebuild_ledger(now, cancel, read)?)
    }

    /// Reads the archived files that are due and compares them with what was archived. `found` is told of what is wrong.
    ///
    /// # Errors
    /// The archive or the ledger cannot be read, or the work was cancelled.
    pub fn verify_archive(
        &self,
        due: Due,
        now: Timestamp,
        cancel: &Cancel,
        found: &mut dyn FnMut(&ArchiveFault),
    ) -> Result<Verification, Error> {
        self.refuse_unsupported(Command::ArchiveWal)?;
        Ok(self.catalog().verify_archive(due, now, cancel, found)?)
    }
}
