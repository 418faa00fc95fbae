//! Takes a base backup into a directory of tar files, as `pg_basebackup --format=tar --wal-method=fetch` does.
//!
//! ```text
//! cargo run --example base_backup -- "host=/var/run/postgresql user=postgres" /var/tmp/backup
//! ```

// The example writes its files by itself, because this crate knows of no repository.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use replication_client::{BackupEnd, BackupEvent, BaseBackupOptions, Client, Config, Environment, Mode};

/// The manifest gets its name last: a directory without it is no backup.
const UNFINISHED_MANIFEST: &str = "backup_manifest.tmp";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [conninfo, directory] = &arguments[..] else { return Err("usage: base_backup CONNINFO DIRECTORY".into()) };
    let user = std::env::var("USER").unwrap_or_default();
    let config = Config::from_conninfo(conninfo, &Environment::from_variables(std::env::vars_os()).with_user(user))?;
    let end = back_up(&config, Path::new(directory)).await?;
    println!("the backup is consistent from {} on", end.end_lsn);
    Ok(())
}

/// Takes a backup into `directory`, which is there and empty.
pub(crate) async fn back_up(config: &Config, directory: &Path) -> Result<BackupEnd, Box<dyn Error>> {
    let client = Client::connect(config, Mode::PhysicalReplication).await?;
    let mut options = BaseBackupOptions::new("example");
    (options.fast_checkpoint, options.include_wal) = (true, true);
    // Archives that are kept describe tablespaces in a file; links in them would lead out of wherever they are unpacked.
    options.tablespace_map = true;
    let mut backup = client.base_backup(&options).await?;
    let total_kb: u64 = backup.start().tablespaces.iter().filter_map(|tablespace| tablespace.size_kb).sum();
    let mut file = None;
    while let Some(event) = backup.next().await? {
        match event {
            BackupEvent::Archive(tablespace) => {
                let name = tablespace.oid.map_or("base.tar".to_owned(), |oid| format!("{oid}.tar"));
                begin(&mut file, &directory.join(name))?;
            }
            BackupEvent::ManifestBegin => begin(&mut file, &directory.join(UNFINISHED_MANIFEST))?,
            BackupEvent::Data(bytes) | BackupEvent::Manifest(bytes) => {
                file.as_mut().ok_or("data of nothing")?.write_all(&bytes)?;
            }
            BackupEvent::Progress(bytes) => eprintln!("{} of {total_kb} KiB", bytes / 1024),
            BackupEvent::Notice(notice) => eprintln!("{notice}"),
        }
    }
    // The server says here that all of it was sent, and that no file failed its checks.
    let (end, _client) = backup.finish().await?;
    finish(&mut file)?;
    fs::rename(directory.join(UNFINISHED_MANIFEST), directory.join("backup_manifest"))?;
    File::open(directory)?.sync_all()?;
    Ok(end)
}

fn begin(file: &mut Option<File>, path: &Path) -> io::Result<()> {
    finish(file)?;
    *file = Some(File::create_new(path)?);
    Ok(())
}

fn finish(file: &mut Option<File>) -> io::Result<()> {
    file.take().map_or(Ok(()), |file| file.sync_all())
}
