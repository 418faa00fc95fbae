//! What is to be known of this host.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use barman_storage::{Dir, Error, Operation, RelativePath};
use rustix::fs::Access;
use wal_format::{ControlFile, PgMajor, SystemId};

use super::{Contents, DataFacts, HostFacts, LockFacts, PlaceFacts};
use crate::marker::{self, Marker};
use crate::plan_error::PlanError;
use crate::postmaster;

/// Where the packages of Debian and of the PostgreSQL project put `postgres`, before and behind the major version.
const SERVERS: [(&str, &str); 2] = [("usr/lib/postgresql/", "/bin/postgres"), ("usr/pgsql-", "/bin/postgres")];

pub(super) fn look(places: &[&Path]) -> Result<HostFacts, PlanError> {
    let places = places.iter().map(|place| look_at(place)).collect::<Result<_, _>>()?;
    Ok(HostFacts { places, user: rustix::process::geteuid().as_raw(), servers: servers(Path::new("/")) })
}

fn look_at(path: &Path) -> Result<PlaceFacts, PlanError> {
    let (dir, unreadable) = match Dir::open(path) {
        Ok(dir) => (Some(dir), None),
        Err(error) if error.is_not_found() => (None, None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (None, Some(error.kind().into())),
        Err(error) => return Err(error.into()),
    };
    let nearest = nearest_existing(path);
    let unusable = |error| Error::new(Operation::LookUp, &nearest, error);
    let metadata = std::fs::metadata(&nearest).map_err(unusable)?;
    let space = rustix::fs::statvfs(&nearest).map_err(|error| unusable(error.into()))?;
    let access = rustix::fs::access(&nearest, Access::WRITE_OK | Access::EXEC_OK);
    let refusal = unreadable.or_else(|| access.err().map(Into::into));
    let dir = dir.filter(|_| refusal.is_none());
    Ok(PlaceFacts {
        path: path.to_owned(),
        contents: dir.as_ref().map_or(Ok(Contents::Nothing), contents)?,
        marker: dir.as_ref().map_or(Ok(None), Marker::text_in)?,
        refusal,
        owner: metadata.uid(),
        device: metadata.dev(),
        free: space.f_bavail.saturating_mul(space.f_frsize),
        nearest,
        real_path: path.canonicalize().ok(),
        data: dir.as_ref().map_or_else(|| Ok(DataFacts::default()), data)?,
    })
}

fn contents(dir: &Dir) -> Result<Contents, Error> {
    let entries = dir.entries()?;
    Ok(match entries.as_slice() {
        [] => Contents::Nothing,
        entries if entries.iter().all(|entry| marker::belongs_to_marker(&entry.name)) => Contents::Marker,
        _ => Contents::Something,
    })
}

fn data(dir: &Dir) -> Result<DataFacts, PlanError> {
    /// A bound for files that have one line, or 8 KiB.
    const LONGEST_FILE_BYTES: u64 = 16 << 10;
    let read = |name| dir.read(&RelativePath::literal(name), LONGEST_FILE_BYTES);
    let (version, control_file) = (read("PG_VERSION")?, read("global/pg_control")?);
    Ok(DataFacts {
        has_version: version.is_some(),
        has_control_file: control_file.is_some(),
        system_id: version.zip(control_file).and_then(|(version, control_file)| system_id(&version, &control_file)),
        lock: lock(dir)?,
        tablespaces: tablespaces(dir)?,
    })
}

/// The identifier of the cluster that a control file is of.
pub(super) fn system_id(version: &[u8], control_file: &[u8]) -> Option<SystemId> {
    let major: u32 = String::from_utf8_lossy(version).trim().parse().ok()?;
    let major = PgMajor::from_version_num(major.checked_mul(10_000)?).ok()?;
    ControlFile::parse(control_file, major).ok().map(|control| control.system_id)
}

fn lock(dir: &Dir) -> Result<Option<LockFacts>, Error> {
    let Some(text) = dir.read(&RelativePath::literal(postmaster::LOCK_FILE), postmaster::LONGEST_BYTES)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    // Where the system does not tell, there is no such memory.
    let shared_memory = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    Ok(Some(LockFacts { is_alive: postmaster::is_alive(&text), text, shared_memory }))
}

fn tablespaces(dir: &Dir) -> Result<BTreeMap<u32, PathBuf>, Error> {
    let links = RelativePath::literal("pg_tblspc");
    let entries = match dir.subdir(&links) {
        Ok(links) => links.entries()?,
        // No data directory.
        Err(_) => return Ok(BTreeMap::new()),
    };
    let place = |name: &std::ffi::OsStr| {
        let oid = name.to_str()?.parse().ok()?;
        Some((oid, dir.path().join(links.as_path()).join(name).canonicalize().ok()?))
    };
    Ok(entries.iter().filter_map(|entry| place(&entry.name)).collect())
}

/// The first existing directory on the way to a place, in which the rest would be made.
fn nearest_existing(place: &Path) -> PathBuf {
    place.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Looks for the programs of servers below `root`.
fn servers(root: &Path) -> Vec<u32> {
    let is_there =
        |major: &u32| SERVERS.iter().any(|(before, behind)| root.join(format!("{before}{major}{behind}")).is_file());
    PgMajor::ALL.into_iter().map(PgMajor::number).filter(is_there).collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files as others leave them")]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_where_packages_put_them() {
        let root = tempfile::tempdir().unwrap();
        assert!(servers(root.path()).is_empty());
        for path in ["usr/pgsql-17/bin", "usr/lib/postgresql/14/bin"] {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
            std::fs::write(root.path().join(path).join("postgres"), "").unwrap();
        }
        assert_eq!(servers(root.path()), [14, 17]);
    }
}
