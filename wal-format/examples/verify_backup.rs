//! Compares a plain base backup with its manifest: `verify_backup DIRECTORY`.
//!
//! Like pg_verifybackup, but for WAL and for files that the manifest does not name. Memory does not grow with the number
//! of files.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path};

use wal_format::{Checksum, ChecksumAlgorithm, Hasher, ManifestFile, ManifestItem, ManifestItems};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: verify_backup DIRECTORY")?;
    let dir = Path::new(&dir);
    let (mut good, mut bad) = (0, 0);
    for item in ManifestItems::new(File::open(dir.join("backup_manifest"))?) {
        match item? {
            ManifestItem::File(file) => match check(dir, &file) {
                Ok(()) => good += 1,
                Err(error) => {
                    bad += 1;
                    println!("{}: {error}", file.path.display());
                }
            },
            ManifestItem::SystemId(cluster) => println!("a backup of cluster {cluster}"),
            ManifestItem::WalRange(range) => {
                println!("needs WAL of timeline {} from {} to {}", range.timeline, range.start, range.end);
            }
            _ => {}
        }
    }
    println!("files that are as they were backed up: {good}");
    if bad == 0 { Ok(()) } else { Err(format!("files that are not: {bad}").into()) }
}

fn check(dir: &Path, file: &ManifestFile) -> Result<(), Box<dyn Error>> {
    // The manifest may come from anywhere: it must not make us read other files.
    if !file.path.components().all(|component| matches!(component, Component::Normal(_))) {
        return Err("its path leaves the backup".into());
    }
    let algorithm = file.checksum.as_ref().map_or(ChecksumAlgorithm::None, Checksum::algorithm);
    let (size, checksum) = read(&dir.join(&file.path), algorithm)?;
    if size != file.size {
        return Err(format!("has {size} bytes, expected {}", file.size).into());
    }
    if checksum != file.checksum { Err("has another checksum".into()) } else { Ok(()) }
}

fn read(path: &Path, algorithm: ChecksumAlgorithm) -> Result<(u64, Option<Checksum>), Box<dyn Error>> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            return Ok((size, hasher.finish()));
        }
        hasher.update(&buffer[..len]);
        size += len as u64;
    }
}
