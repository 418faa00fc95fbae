//! Why a restore cannot be finished, and what to do about it.

use crate::error::CommandError;
use barman_pitr::{FinishError, ForeignTimeline, NotPromoted};

impl From<FinishError> for CommandError {
    fn from(error: FinishError) -> Self {
        let plain = Self::from_error(&error);
        match &error {
            FinishError::NoDataDirectory { .. } => plain.hinted("name the directory that was restored"),
            FinishError::NotPromoted { reason, .. } => plain.hinted(advice(*reason)),
            FinishError::Record { .. } => plain
                .hinted("remove the file; then only what differs from the .origin files is taken for the restore's"),
            FinishError::Changed { .. } => plain.hinted("run the command again"),
            FinishError::ForeignArchive { reason, .. } => plain.hinted(instead(reason)),
            _ => plain,
        }
    }
}

fn advice(reason: NotPromoted) -> &'static str {
    match reason {
        NotPromoted::NeverStarted => "start the server and let it recover first",
        NotPromoted::InRecovery => {
            "`barman recovery-progress` says how far it is; select pg_promote(), or pg_wal_replay_resume(), ends it"
        }
        _ => "start the server again, and let its recovery end",
    }
}

fn instead(reason: &ForeignTimeline) -> &'static str {
    match reason {
        ForeignTimeline::Cluster { .. } => "name the server whose cluster this is",
        _ => {
            "archive elsewhere: give the new server a section of its own; or promote it once more, onto a timeline that the \
             archive does not know"
        }
    }
}
