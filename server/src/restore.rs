//! Restoring: what has arrived is archived first, then the plan is made, then it is carried out.

use crate::{Error, Server, one_line};
use barman_config::Command;
use barman_pitr::{
    Host, RecoveryPlan, RecoveryRequest, RestoreEvent, RestoreOptions, RestorePlan, RestoreReport, RestoreRequest,
};
use barman_storage::Cancel;
use std::path::Path;
use wal_format::Timestamp;

impl Server {
    /// Plans a restore. WAL that has arrived but is not archived yet is archived before, so that the plan can count on
    /// it; nothing else is changed.
    ///
    /// # Errors
    /// An option is set that is not built, or the restore cannot be done as it was asked for.
    pub fn plan_restore(
        &self,
        request: &RestoreRequest,
        now: Timestamp,
        cancel: &Cancel,
    ) -> Result<RestorePlan, Error> {
        self.refuse_unsupported(Command::Restore)?;
        // The archive may be complete without it, so this alone is no reason to refuse a restore.
        if let Err(error) = self.archive_wal_in_turn(None, now, cancel, &mut |_| {}) {
            tracing::warn!(target: "barman.server", "no WAL archived before the restore: {}", one_line(&error));
        }
        self.plan_restore_only(request)
    }

    /// Plans a restore with what is archived now, and changes nothing at all.
    ///
    /// # Errors
    /// As [`Server::plan_restore`].
    pub fn plan_restore_only(&self, request: &RestoreRequest) -> Result<RestorePlan, Error> {
        self.refuse_unsupported(Command::Restore)?;
        if request.host == Host::Here {
            self.refuse_catalog_as_destination(&request.destination)?;
        }
        Ok(barman_pitr::plan(self.catalog(), request)?)
    }

    /// Plans a recovery, wherever that may be.
    ///
    /// # Errors
    /// An option is set that is not built, or the target cannot be reached.
    pub fn plan_recovery(&self, request: &RecoveryRequest<'_>) -> Result<RecoveryPlan, Error> {
        self.refuse_unsupported(Command::Restore)?;
        Ok(barman_pitr::plan_recovery(self.catalog(), request)?)
    }

    /// A data directory within the catalog would be taken for part of it.
    fn refuse_catalog_as_destination(&self, destination: &Path) -> Result<(), Error> {
        let own = self.catalog().layout().directories();
        match own.into_iter().find(|directory| destination.starts_with(directory)) {
            Some(directory) => Err(Error::DestinationInCatalog { destination: destination.to_owned(), directory }),
            None => Ok(()),
        }
    }

    /// Carries a plan out.
    ///
    /// # Errors
    /// As [`barman_pitr::restore`].
    pub fn restore(
        &self,
        plan: &RestorePlan,
        options: &RestoreOptions,
        events: &(dyn Fn(RestoreEvent) + Sync),
    ) -> Result<RestoreReport, Error> {
        Ok(barman_pitr::restore(self.catalog(), plan, options, events)?)
    }
}
