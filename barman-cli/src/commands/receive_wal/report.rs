//! What a receiver tells, in words.

use crate::output::Output;
use barman_backup::{ReceiverEvent, StartReason};
use barman_server::{ReceiveWalEvent, one_line};

/// Shows an event of the receiver of one server.
pub(super) fn event(output: &Output, server: &str, event: &ReceiveWalEvent<'_>) {
    if let Some(warning) = warning(event) {
        output.warning(&format!("{server}: {warning}"));
    } else if let Some(line) = line(event) {
        output.info(&format!("{server}: {line}"));
    }
}

fn warning(event: &ReceiveWalEvent<'_>) -> Option<String> {
    Some(match event {
        ReceiveWalEvent::Quarantined { name, moved_to } => {
            format!("{name} is named ahead of the server: moved to errors/{moved_to}")
        }
        ReceiveWalEvent::Receiver(ReceiverEvent::RemoteApply { standby }) => format!(
            "commits may wait for ever: synchronous_standby_names lists '{standby}', which applies no WAL, and \
             synchronous_commit is remote_apply"
        ),
        ReceiveWalEvent::Receiver(ReceiverEvent::Gap { timeline, from, to }) => format!(
            "WAL of timeline {timeline} from {from} to {to} is missing: nothing can be recovered across this gap; take \
             a new backup"
        ),
        ReceiveWalEvent::Receiver(ReceiverEvent::SurplusKept { timeline, at, files, archived }) => {
            let files = files.iter().map(|file| format!("streaming/{file}"));
            let archived = archived.iter().map(|newest| format!("the archive up to {newest}"));
            let places: Vec<String> = files.chain(archived).collect();
            format!("the server left timeline {timeline} at {at}; what was received beyond is in {}", places.join(", "))
        }
        _ => return None,
    })
}

fn line(event: &ReceiveWalEvent<'_>) -> Option<String> {
    let ReceiveWalEvent::Receiver(event) = event else { return None };
    Some(match event {
        ReceiverEvent::Connected { timeline, start, reason: StartReason::Branch { left, at }, .. } => format!(
            "the server left timeline {left} at {at}: what was received beyond is kept, and log streaming starts at \
             {start} (timeline {timeline})"
        ),
        ReceiverEvent::Connected { timeline, start, .. } => {
            format!("starting log streaming at {start} (timeline {timeline})")
        }
        ReceiverEvent::SlotCreated { slot } => format!("created replication slot '{slot}'"),
        ReceiverEvent::SegmentFinished { segment } => format!("finished segment {segment}"),
        ReceiverEvent::HistoryStored { timeline } => format!("stored the history of timeline {timeline}"),
        ReceiverEvent::TimelineSwitch { from, to, at } => format!("switched from timeline {from} to {to} at {at}"),
        ReceiverEvent::SettingsChanged { synchronous: true } => {
            "commits wait for this receiver from now on (synchronous_standby_names)".to_owned()
        }
        ReceiverEvent::SettingsChanged { synchronous: false } => {
            "commits do not wait for this receiver any more (synchronous_standby_names)".to_owned()
        }
        ReceiverEvent::SyncFailed { error } => format!("{}; receiving again what was not synced", one_line(error)),
        ReceiverEvent::Reconnecting { error, after } => {
            format!("{}; trying again in {:.1} seconds", one_line(error), after.as_secs_f64())
        }
        _ => return None,
    })
}
