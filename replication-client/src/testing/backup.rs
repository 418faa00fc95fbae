//! One base backup of a [`ScriptedWalsender`](super::ScriptedWalsender).

use std::io;

use bytes::Bytes;
use wal_format::Lsn;

use super::backend_bytes::BackendBytes;
use super::session::Session;
use crate::base_backup::Tablespace;
use crate::server_version;

/// What a base backup consists of. Any bytes will do as archives and manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptedBackup {
    /// The start position.
    pub start: Lsn,
    /// The end position.
    pub end: Lsn,
    /// What is announced, with the archives as they are sent; the data directory last.
    pub archives: Vec<(Tablespace, Bytes)>,
    /// What follows the name `base.tar` of an archive: `.gz` for compressed ones.
    pub suffix: String,
    /// The manifest, if one is sent.
    pub manifest: Option<Bytes>,
}

impl ScriptedBackup {
    /// A backup of a data directory without tablespaces, with a manifest.
    #[must_use]
    pub fn new(start: Lsn, end: Lsn, archive: impl Into<Bytes>, manifest: impl Into<Bytes>) -> Self {
        let data_directory = Tablespace { oid: None, location: None, size_kb: None };
        let archives = vec![(data_directory, archive.into())];
        Self { start, end, archives, suffix: String::new(), manifest: Some(manifest.into()) }
    }
}

/// Sends the backup in the layout of the cluster's version.
pub(super) async fn serve(session: &mut Session) -> io::Result<()> {
    let behaviour = session.behaviour();
    if let Some((sqlstate, message)) = &behaviour.refusal {
        return session.refuse(sqlstate, message).await;
    }
    let (backup, version, timeline) = {
        let cluster = &session.shared.state().cluster;
        (cluster.backup.clone(), server_version::parse(&cluster.version), cluster.timeline().to_string())
    };
    let Some(backup) = backup else { return session.refuse("XX000", "this walsender has no base backup").await };
    let one_copy = version.unwrap_or_default() >= server_version::V15;
    session.line.send(&announcement(&backup, &timeline)).await?;
    session.line.follow(&behaviour);
    let pieces = if one_copy { one_copy_of(&backup, behaviour.piece) } else { copies_of(&backup, behaviour.piece) };
    for piece in pieces {
        session.line.send(&piece).await?;
    }
    let end = position(backup.end, &timeline).command_complete().ready();
    session.line.send(&end).await
}

fn position(lsn: Lsn, timeline: &str) -> BackendBytes {
    BackendBytes::new().result(&["recptr", "tli"], &[&[Some(&lsn.to_string()), Some(timeline)]])
}

fn announcement(backup: &ScriptedBackup, timeline: &str) -> BackendBytes {
    let described = position(backup.start, timeline).row_description(&["spcoid", "spclocation", "size"]);
    let with_row = |bytes: BackendBytes, (tablespace, _): &(Tablespace, Bytes)| {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let (oid, size) = (number(tablespace.oid.map(u64::from)), number(tablespace.size_kb));
        bytes.data_row(&[oid.as_deref(), tablespace.location.as_deref(), size.as_deref()])
    };
    backup.archives.iter().fold(described, with_row).command_complete()
}

/// PostgreSQL 15 and newer: one COPY, whose messages say what they are.
fn one_copy_of(backup: &ScriptedBackup, piece: usize) -> Vec<BackendBytes> {
    let data = |bytes: &[u8]| BackendBytes::new().copy_data(&[b"d", bytes].concat());
    let mut pieces = vec![BackendBytes::new().copy_out()];
    for (tablespace, bytes) in &backup.archives {
        let stem = tablespace.oid.map_or("base".to_owned(), |oid| oid.to_string());
        let location = tablespace.location.as_deref().unwrap_or_default();
        let name = format!("n{stem}.tar{}\0{location}\0", backup.suffix);
        pieces.push(BackendBytes::new().copy_data(name.as_bytes()));
        pieces.extend(bytes.chunks(piece).map(data));
        let progress = [b"p", &(bytes.len() as u64).to_be_bytes()[..]].concat();
        pieces.push(BackendBytes::new().copy_data(&progress));
    }
    if let Some(manifest) = &backup.manifest {
        pieces.push(BackendBytes::new().copy_data(b"m"));
        pieces.extend(manifest.chunks(piece).map(data));
    }
    pieces.push(BackendBytes::new().copy_done());
    pieces
}

/// Older servers: a COPY for each archive, and one for the manifest.
fn copies_of(backup: &ScriptedBackup, piece: usize) -> Vec<BackendBytes> {
    let parts = backup.archives.iter().map(|(_, bytes)| bytes).chain(&backup.manifest);
    let mut pieces = Vec::new();
    for bytes in parts {
        pieces.push(BackendBytes::new().copy_out());
        pieces.extend(bytes.chunks(piece).map(|bytes| BackendBytes::new().copy_data(bytes)));
        pieces.push(BackendBytes::new().copy_done());
    }
    pieces
}
