//! Taking from a source: base backups and the WAL receiver

mod base_backup;
mod cancelled;
mod receiver;

pub use base_backup::{
    ArchiveName, BaseBackupError, BaseBackupEvent, BaseBackupOptions, BaseBackupResult, EntryError, ManifestError, run,
};
pub use receiver::{ReceiveError, Received, ReceiverEvent, ReceiverOptions, Reconnect, StartReason, receive};
