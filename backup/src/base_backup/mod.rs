//! Takes base backups over the replication protocol.

mod archive;
mod error;
mod event;
mod manifest;
mod options;
mod piece_reader;
mod placement;
mod received_files;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::pin::pin;

use barman_catalog::BackupData;
use barman_storage::{Cancel, Cancelled};
use replication_client::{BackupEnd, BackupEvent, BackupStart, BaseBackup, Client, Tablespace};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wal_format::{BackupLabel, Lsn, TimelineId};

pub use barman_catalog::{ArchiveName, EntryError};
pub use error::BaseBackupError;
pub use event::BaseBackupEvent;
pub use manifest::ManifestError;
pub use options::BaseBackupOptions;

use crate::cancelled::cancelled;
use piece_reader::{Border, Piece, PieceReader};
use placement::{Placed, Placement};

/// How many pieces wait for the disk: about 2 MiB, as PostgreSQL sends at most 128 KiB at once.
const CAPACITY: usize = 16;

/// A base backup that is complete, equal to what the server sent, and durable.
#[derive(Debug, Clone)]
pub struct BaseBackupResult {
    /// Where replay begins.
    pub start: Lsn,
    /// The position from which on the backup is consistent: all WAL between `start` and it is needed.
    pub end: Lsn,
    /// The timeline of `start`.
    pub timeline: TimelineId,
    /// The timeline of `end`. It is another one if the server is a standby that followed a promotion meanwhile:
    /// PostgreSQL allows that, and so does pg_basebackup.
    pub end_timeline: TimelineId,
    /// The tablespaces besides the data directory, as the server announced them when the backup began: these, and no
    /// others, are in the backup, and a query before or after it may see others. Each has its oid and its location on the
    /// server.
    pub tablespaces: Vec<Tablespace>,
    /// The text of `backup_label`.
    pub label_text: String,
    /// What it says.
    pub label: BackupLabel,
    /// The sum of the sizes of all files, `backup_manifest` included. Each has one name, so it is also the deduplicated
    /// size.
    pub size: u64,
    /// How many files the manifest names.
    pub files: u64,
}

/// Takes a base backup.
///
/// `create` makes the directories, the data directory and one for each tablespace with the given oids, all empty; it runs
/// on a thread that may block. The files are unpacked there while they arrive, and each is checksummed on its way to the
/// disk and compared with the server's manifest at the end. On return all of it is durable.
///
/// # Errors
/// See [`BaseBackupError`]. What was written stays, without a manifest, for the catalog to mark it as failed.
pub async fn run(
    client: Client,
    options: &BaseBackupOptions,
    create: impl FnOnce(&[u32]) -> Result<BackupData, barman_catalog::Error> + Send + 'static,
    cancel: &Cancel,
    events: &(dyn Fn(&BaseBackupEvent) + Send + Sync),
) -> Result<BaseBackupResult, BaseBackupError> {
    let command = options.command();
    // The server may take minutes to answer: it begins with a checkpoint.
    let stream = tokio::select! {
        begun = client.base_backup(&command) => begun?,
        () = cancelled(cancel) => return Err(Cancelled.into()),
    };
    let start = stream.start().clone();
    events(&started(&start));

    let (pieces, received) = mpsc::channel(CAPACITY);
    let (verified, is_verified) = oneshot::channel();
    let (cancel_placement, sync_jobs, start_lsn) = (cancel.clone(), options.sync_jobs, start.start_lsn);
    let oids = oids(&start);
    let placing = tokio::task::spawn_blocking(move || {
        let data = create(&oids)?;
        let placement = Placement { data: &data, cancel: &cancel_placement, sync_jobs, start: start_lsn };
        placement.run(PieceReader::new(received), verified)
    });
    let received = receive(stream, pieces, cancel, events).await;
    if let Ok(files) = is_verified.await {
        events(&BaseBackupEvent::Verified { files });
    }
    // The channel is closed, so the thread comes to its end in any case: nobody writes any more when this returns.
    let placed = joined(placing).await;
    let (Some(end), placed) = (received?, placed?) else {
        unreachable!("the thread stops listening only to fail");
    };
    Ok(BaseBackupResult::new(start, end, placed))
}

impl BaseBackupResult {
    fn new(start: BackupStart, end: BackupEnd, placed: Placed) -> Self {
        Self {
            start: start.start_lsn,
            end: end.end_lsn,
            timeline: start.timeline,
            end_timeline: end.timeline,
            tablespaces: start.tablespaces.into_iter().filter(|tablespace| tablespace.oid.is_some()).collect(),
            label_text: placed.label_text,
            label: placed.label,
            size: placed.size,
            files: placed.files,
        }
    }
}

fn started(start: &BackupStart) -> BaseBackupEvent {
    let kilobytes: u64 = start.tablespaces.iter().filter_map(|tablespace| tablespace.size_kb).sum();
    BaseBackupEvent::Started {
        start: start.start_lsn,
        timeline: start.timeline,
        tablespaces: oids(start),
        total_bytes: kilobytes * 1024,
    }
}

/// Returns the oids of the tablespaces besides the data directory.
fn oids(start: &BackupStart) -> Vec<u32> {
    start.tablespaces.iter().filter_map(|tablespace| tablespace.oid).collect()
}

/// Passes what the server sends on to the thread; returns how the backup ended, or `None` if the thread has given up.
async fn receive(
    mut stream: BaseBackup,
    pieces: Sender<Piece>,
    cancel: &Cancel,
    events: &(dyn Fn(&BaseBackupEvent) + Send + Sync),
) -> Result<Option<BackupEnd>, BaseBackupError> {
    let mut bytes = 0;
    let mut cancelled = pin!(cancelled(cancel));
    loop {
        let event = tokio::select! {
            event = stream.next() => event?,
            () = &mut cancelled => return Err(Cancelled.into()),
        };
        let Some(event) = event else { break };
        let Some(piece) = piece(event, &mut bytes, events) else { continue };
        if pieces.send(piece).await.is_err() {
            return Ok(None);
        }
    }
    // Only now has the server said that it is complete.
    let (end, _) = stream.finish().await?;
    Ok(pieces.send(Piece::Border(Border::End)).await.is_ok().then_some(end))
}

fn piece(event: BackupEvent, bytes: &mut u64, events: &(dyn Fn(&BaseBackupEvent) + Send + Sync)) -> Option<Piece> {
    match event {
        BackupEvent::Archive(tablespace) => {
            let archive = tablespace.oid.map_or(ArchiveName::Main, ArchiveName::Tablespace);
            Some(Piece::Border(Border::Archive(archive)))
        }
        BackupEvent::Data(data) => {
            *bytes += data.len() as u64;
            events(&BaseBackupEvent::Received { bytes: *bytes });
            Some(Piece::Data(data))
        }
        BackupEvent::ManifestBegin => Some(Piece::Border(Border::Manifest)),
        BackupEvent::Manifest(data) => Some(Piece::Data(data)),
        BackupEvent::Notice(notice) => {
            events(&BaseBackupEvent::Notice { message: notice.message().to_owned() });
            None
        }
        // What has arrived is counted here, for every version of the server.
        BackupEvent::Progress(_) => None,
    }
}

async fn joined(placing: JoinHandle<Result<Placed, BaseBackupError>>) -> Result<Placed, BaseBackupError> {
    match placing.await {
        Ok(placed) => placed,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../wal-format/testdata/15/backup_label"));

    #[test]
    fn start_and_end_keep_their_timelines_and_tablespaces_what_the_server_said() {
        let (first, second) = (TimelineId::FIRST, TimelineId::new(2).unwrap());
        let location = Some("/srv/tbs1".to_owned());
        let tablespace = Tablespace { oid: Some(16386), location, size_kb: Some(12) };
        let data_directory = Tablespace { oid: None, location: None, size_kb: Some(34_567) };
        let start = BackupStart {
            start_lsn: Lsn::new(0x200_0028),
            timeline: first,
            tablespaces: vec![tablespace.clone(), data_directory],
        };
        let expected = BaseBackupEvent::Started {
            start: Lsn::new(0x200_0028),
            timeline: first,
            tablespaces: vec![16386],
            total_bytes: 34_579 * 1024,
        };
        assert_eq!(started(&start), expected);

        // A standby that follows a promotion while the backup is taken.
        let end = BackupEnd { end_lsn: Lsn::new(0x300_0100), timeline: second };
        let label = BackupLabel::parse(LABEL).unwrap();
        let placed = Placed { size: 1, files: 1, label_text: LABEL.to_owned(), label };
        let result = BaseBackupResult::new(start, end, placed);
        assert_eq!((result.start, result.timeline), (Lsn::new(0x200_0028), first));
        assert_eq!((result.end, result.end_timeline), (Lsn::new(0x300_0100), second));
        assert_eq!(result.tablespaces, [tablespace]);
    }
}
