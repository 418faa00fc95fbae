//! The replication slot that a receiver uses.

use crate::{Error, Server};
use barman_config::Command;
use replication_client::{Client, Mode, PhysicalSlot};

impl Server {
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

    pub(super) async fn replication_client(&self) -> Result<Client, Error> {
        Ok(Client::connect(&self.wal_stream_connection()?, Mode::PhysicalReplication).await?)
    }
}
