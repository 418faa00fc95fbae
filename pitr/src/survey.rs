//! What is in a directory that is restored over, and what of it has to go.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use barman_storage::{Dir, Error, Kind, RelativePath};

/// Something that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: RelativePath,
    pub(crate) kind: Kind,
    /// Length in bytes; 0 for what is no file.
    pub(crate) size: u64,
    /// Permission bits; 0 for what is no file.
    pub(crate) mode: u32,
}

/// Returns all that is below a directory, each directory in front of what is in it. Symbolic links are not followed.
pub(crate) fn found_below(top: &Dir) -> Result<Vec<Found>, Error> {
    let mut found = list(top, None)?;
    let mut next = 0;
    // By an index, not by recursion: a hostile tree may be deeper than the stack.
    while let Some(Found { path, kind, .. }) = found.get(next).cloned() {
        if kind == Kind::Directory {
            found.extend(list(top, Some(&path))?);
        }
        next += 1;
    }
    Ok(found)
}

fn list(top: &Dir, path: Option<&RelativePath>) -> Result<Vec<Found>, Error> {
    let dir = path.map_or_else(|| Ok(top.clone()), |path| top.subdir(path))?;
    let mut found = Vec::new();
    for entry in dir.entries()? {
        let (size, mode) = match entry.kind {
            // Absent: removed since it was listed.
            Kind::File => dir.stat(&entry.path())?.map_or((0, 0), |stat| (stat.size, stat.mode)),
            _ => (0, 0),
        };
        let path = path.map_or_else(|| entry.path(), |path| path.join(&entry.path()));
        found.push(Found { path, kind: entry.kind, size, mode });
    }
    Ok(found)
}

/// What there shall be in a directory.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    directories: HashSet<PathBuf>,
    /// With their lengths in bytes, where those are known.
    files: HashMap<PathBuf, Option<u64>>,
    /// What is in these is not looked at.
    left_alone: Vec<PathBuf>,
}

impl Wanted {
    pub(crate) fn directory(&mut self, path: &Path) {
        self.directories.insert(path.to_owned());
    }

    pub(crate) fn file(&mut self, path: &Path, size: Option<u64>) {
        self.files.insert(path.to_owned(), size);
    }

    /// Leaves alone what is in a directory.
    pub(crate) fn leave_alone(&mut self, directory: &Path) {
        self.left_alone.push(directory.to_owned());
    }

    /// Returns what has to go, without that which goes with its directory: what is not wanted, and files that cannot have
    /// the contents that are wanted. A file of the right length stays to be compared.
    pub(crate) fn unwanted<'f>(&self, found: &'f [Found]) -> Vec<&'f RelativePath> {
        let mut unwanted: Vec<&RelativePath> = Vec::new();
        let mut gone: HashSet<&Path> = HashSet::new();
        for Found { path, kind, size, .. } in found {
            let has_gone = path.as_path().parent().is_some_and(|parent| gone.contains(parent));
            if has_gone {
                gone.insert(path.as_path());
            } else if !self.wants(path.as_path(), *kind, *size) {
                gone.insert(path.as_path());
                unwanted.push(path);
            }
        }
        unwanted
    }

    fn wants(&self, path: &Path, kind: Kind, size: u64) -> bool {
        if self.left_alone.iter().any(|spared| path != spared && path.starts_with(spared)) {
            return true;
        }
        match kind {
            Kind::Directory => self.directories.contains(path),
            Kind::File => self.files.get(path).is_some_and(|wanted| wanted.is_none_or(|wanted| wanted == size)),
            Kind::Symlink | Kind::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(entries: &[(&'static str, Kind, u64)]) -> Vec<Found> {
        let entry = |&(path, kind, size)| Found { path: RelativePath::literal(path), kind, size, mode: 0o600 };
        entries.iter().map(entry).collect()
    }

    fn wanted() -> Wanted {
        let mut wanted = Wanted::default();
        wanted.directory(Path::new("base"));
        wanted.directory(Path::new("base/5"));
        wanted.directory(Path::new("log"));
        wanted.file(Path::new("base/5/16384"), Some(8192));
        wanted.file(Path::new("pg_wal/00000002.history"), None);
        wanted.leave_alone(Path::new("log"));
        wanted
    }

    fn check(entries: &[(&'static str, Kind, u64)], expected: &[&str]) {
        let found = found(entries);
        let unwanted: Vec<_> = wanted().unwanted(&found).into_iter().map(RelativePath::as_path).collect();
        assert_eq!(unwanted, expected.iter().map(Path::new).collect::<Vec<_>>());
    }

    #[test]
    fn what_can_be_right_stays_to_be_compared() {
        check(&[("base", Kind::Directory, 0), ("base/5", Kind::Directory, 0), ("base/5/16384", Kind::File, 8192)], &[]);
        check(&[("base/5/16384", Kind::File, 8191)], &["base/5/16384"]);
        check(&[("base/5/16384", Kind::Symlink, 0)], &["base/5/16384"]);
        check(&[("base/5/16384", Kind::Directory, 0)], &["base/5/16384"]);
        check(&[("base", Kind::File, 0)], &["base"]);
        check(&[("pg_wal/00000002.history", Kind::File, 40)], &[]);
    }

    #[test]
    fn what_is_not_wanted_goes_with_all_that_is_in_it() {
        check(
            &[
                ("base", Kind::Directory, 0),
                ("base/6", Kind::Directory, 0),
                ("base/6/1", Kind::File, 1),
                ("base/6/deeper", Kind::Directory, 0),
                ("base/6/deeper/1", Kind::File, 1),
                ("base/60", Kind::File, 1),
            ],
            &["base/6", "base/60"],
        );
    }

    #[test]
    fn what_is_to_be_left_alone_is() {
        check(&[("log", Kind::Directory, 0), ("log/yesterday", Kind::File, 9), ("log2", Kind::File, 9)], &["log2"]);
        check(&[("log", Kind::Symlink, 0)], &["log"]);
    }
}
