//! One configured server: its section of the configuration, its catalog, its connections.

use crate::Error;
use crate::postgres::{Postgres, WalSwitch};
use crate::wal_storage;
use barman_catalog::{Catalog, Identity, LocalZone, Lock, LockError, ServerLayout, WalStorage};
use barman_config::{Command, Conninfo, GlobalConfig, ServerConfig};
use barman_storage::{Cancel, Cancelled, LockFile};
use replication_client::{Client, Config, Environment, Mode, SystemIdentity};
use std::path::Path;
use std::time::Duration;
use wal_format::SystemId;

/// One server of the configuration, ready to be worked on. Nothing is opened or connected before it is needed.
#[derive(Clone, Debug)]
pub struct Server {
    config: ServerConfig,
    catalog: Catalog,
    environment: Environment,
    /// Why WAL cannot be stored as configured.
    storage_fault: Option<String>,
}

impl Server {
    /// Puts a server together from its configuration; `zone` is the Barman host's.
    #[must_use]
    pub fn assemble(global: &GlobalConfig, config: &ServerConfig, environment: &Environment, zone: LocalZone) -> Self {
        let (storage, storage_fault) = match wal_storage::of(config) {
            Ok(storage) => (storage, None),
            Err(fault) => (WalStorage::default(), Some(fault)),
        };
        let catalog = Catalog::open(layout(&global.lock_directory, config), zone).with_wal_storage(storage);
        Self { config: config.clone(), catalog, environment: environment.clone(), storage_fault }
    }

    /// Returns the name of its section.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Returns its configuration.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Returns what it has in the repository.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Refuses `command` while an option is set that it would have to obey and that is not built: doing without it
    /// would not be what the user asked for.
    ///
    /// # Errors
    /// The first such option.
    pub fn refuse_unsupported(&self, command: Command) -> Result<(), Error> {
        match self.config.unsupported_for(command).next() {
            None => Ok(()),
            Some(option) => Err(Error::UnsupportedOption {
                server: self.name().to_owned(),
                option: option.option.to_owned(),
                value: option.value.clone(),
            }),
        }
    }

    /// Refuses to archive WAL otherwise than configured.
    pub(crate) fn refuse_storage_fault(&self) -> Result<(), Error> {
        match &self.storage_fault {
            Some(reason) => Err(Error::WalStorage { server: self.name().to_owned(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Closes the current WAL segment, after a checkpoint if `checkpoint` asks for one.
    ///
    /// # Errors
    /// The server cannot be reached, the role may not switch, or an option is set that is not built.
    pub async fn switch_wal(&self, checkpoint: bool) -> Result<WalSwitch, Error> {
        self.refuse_unsupported(Command::SwitchWal)?;
        self.connect().await?.switch_wal(checkpoint).await
    }

    pub(crate) async fn connect(&self) -> Result<Postgres, Error> {
        Postgres::connect(&self.sql_connection()?).await
    }

    /// Returns how to connect for SQL.
    pub(crate) fn sql_connection(&self) -> Result<Config, Error> {
        self.connection("conninfo", self.config.conninfo.as_ref(), "barman")
    }

    pub(crate) async fn connect_for_wal(&self) -> Result<Postgres, Error> {
        Postgres::connect(&self.wal_connection()?).await
    }

    /// Returns how to connect to the host that WAL comes from, for SQL.
    pub(crate) fn wal_connection(&self) -> Result<Config, Error> {
        self.connection("wal_conninfo", self.config.wal_conninfo.as_ref(), "barman")
    }

    pub(crate) async fn identify_system(&self) -> Result<SystemIdentity, Error> {
        identify(&self.backup_connection()?).await
    }

    pub(crate) async fn identify_wal_system(&self) -> Result<SystemIdentity, Error> {
        identify(&self.wal_stream_connection()?).await
    }

    /// Returns how to connect for a base backup.
    pub(crate) fn backup_connection(&self) -> Result<Config, Error> {
        let name = &self.config.streaming_backup_name;
        self.connection("streaming_conninfo", self.config.streaming_conninfo.as_ref(), name)
    }

    /// Returns how to connect for streaming WAL.
    pub(crate) fn wal_stream_connection(&self) -> Result<Config, Error> {
        let name = &self.config.streaming_archiver_name;
        self.connection("wal_streaming_conninfo", self.config.wal_streaming_conninfo.as_ref(), name)
    }

    fn connection(
        &self,
        option: &'static str,
        conninfo: Option<&Conninfo>,
        application: &str,
    ) -> Result<Config, Error> {
        let text = conninfo.map(|conninfo| &**conninfo).unwrap_or_default();
        let mut config = Config::from_conninfo(text, &self.environment).map_err(|source| Error::Conninfo {
            option,
            server: self.name().to_owned(),
            source,
        })?;
        config.set_application_name(application);
        Ok(config)
    }

    /// Waits for `work`, but no longer than until `cancel` is set: a server that does not answer must not keep a process
    /// alive that was told to end.
    pub(crate) async fn unless_cancelled<T>(
        cancel: &Cancel,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        const POLL: Duration = Duration::from_millis(100);
        let cancelled = async {
            while !cancel.is_cancelled() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = cancelled => Err(Error::Cancelled(Cancelled)),
        }
    }

    /// Whether any part of the configuration needs a replication connection.
    pub(crate) fn uses_streaming(&self) -> bool {
        self.config.streaming_archiver || self.config.backup_method.is_postgres()
    }

    /// Whether WAL comes from another host than backups do.
    pub(crate) fn has_wal_overrides(&self) -> bool {
        self.config.streaming_archiver && self.config.overrides_wal_connection()
    }

    /// Takes one of the server's locks; `task` is what another process that holds it does.
    ///
    /// # Errors
    /// Another process holds it, or the lock file cannot be opened.
    pub(crate) fn lock(&self, task: &'static str, lock: Lock) -> Result<LockFile, Error> {
        self.catalog().lock(lock).map_err(|error| match error {
            LockError::Catalog(error) => error.into(),
            _ => Error::Busy { task, server: self.name().to_owned() },
        })
    }

    /// Compares the cluster that answered with the one whose backups and WAL the catalog holds.
    ///
    /// # Errors
    /// They differ: their WAL must never meet in one archive (invariant 5).
    pub(crate) fn check_identity(&self, found: SystemId) -> Result<(), Error> {
        match self.catalog.identity()? {
            Some(Identity { system_id: expected, .. }) if expected != found => {
                Err(Error::ForeignSystem { server: self.name().to_owned(), expected, found })
            }
            _ => Ok(()),
        }
    }
}

async fn identify(config: &Config) -> Result<SystemIdentity, Error> {
    Ok(Client::connect(config, Mode::PhysicalReplication).await?.identify_system().await?)
}

fn layout(lock_directory: &Path, config: &ServerConfig) -> ServerLayout {
    ServerLayout {
        server: config.name.clone(),
        backup_directory: config.backup_directory.clone(),
        basebackups_directory: config.basebackups_directory.clone(),
        wals_directory: config.wals_directory.clone(),
        incoming_wals_directory: config.incoming_wals_directory.clone(),
        streaming_wals_directory: config.streaming_wals_directory.clone(),
        errors_directory: config.errors_directory.clone(),
        xlogdb_directory: config.xlogdb_directory.clone(),
        lock_directory: lock_directory.to_owned(),
    }
}
