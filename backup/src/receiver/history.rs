//! Timeline history files, stored ahead of the WAL that they explain.

use barman_storage::{Dir, OutFile, PublishError, RelativePath};
use replication_client::Client;
use wal_format::{TimelineHistory, TimelineId, WalFileName};

use super::error::ReceiveError;

/// pg_receivewal's mode for what it writes (`pg_file_create_mode`).
const MODE: u32 = 0o600;

/// Makes sure that the history file of `timeline` is durable in `dir`; returns whether it had to be fetched.
///
/// The first timeline has none (PostgreSQL: `ReceiveXlogStream`).
///
/// # Errors
/// The server has no such file, what it sends is no history, or it cannot be stored.
pub(super) async fn store(client: &mut Client, dir: &Dir, timeline: TimelineId) -> Result<bool, ReceiveError> {
    let path = history_path(timeline);
    if timeline == TimelineId::FIRST || dir.stat(&path)?.is_some() {
        return Ok(false);
    }
    let content = client.timeline_history(timeline).await?.content;
    TimelineHistory::parse(timeline, &content).map_err(|source| ReceiveError::History { timeline, source })?;
    let dir = dir.clone();
    super::blocking(move || {
        let write = |file: &mut OutFile| Ok::<_, PublishError>(file.write_all(&content)?);
        Ok(dir.publish_new(&path, MODE, write).map(drop)?)
    })
    .await?;
    Ok(true)
}

#[allow(clippy::expect_used, reason = "digits and a dot are a plain file name")]
fn history_path(timeline: TimelineId) -> RelativePath {
    RelativePath::new(WalFileName::History(timeline).to_string()).expect("digits and a dot are a plain file name")
}
