//! Why WAL is not received.

use super::postgres;
use crate::error::CommandError;
use barman_backup::ReceiveError;

pub(super) fn explain(error: &ReceiveError) -> CommandError {
    let plain = CommandError::from_error(error);
    match error {
        ReceiveError::Connection(error) => postgres::explain(error),
        ReceiveError::SlotMissing { slot, from: None } => postgres::missing_slot(slot),
        ReceiveError::SlotMissing { .. } => {
            plain.hinted("create the slot again at once: `barman receive-wal --create-slot`, or set create_slot = auto")
        }
        ReceiveError::WalLost { .. } => plain.hinted(
            "if archive_command delivers to incoming/ as well, nothing is missing; `barman receive-wal --reset` goes on \
             with what the server has (a slot that it gave up must be dropped and created again), and then take a new \
             backup",
        ),
        _ => plain,
    }
}
