//! What reading a configuration asks of the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The questions, so that tests can answer them without files.
pub trait Files {
    /// Whether there is something at `path`, links followed.
    fn exists(&self, path: &Path) -> bool;

    /// Whether `path` is a directory, links followed.
    fn is_dir(&self, path: &Path) -> bool;

    /// Whether `path` is a regular file, links followed.
    fn is_file(&self, path: &Path) -> bool;

    /// The bytes of a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// Those of the file system.
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>>;

    /// The absolute path without links, `.` and `..`; what does not exist is taken literally.
    fn real_path(&self, path: &Path) -> PathBuf;
}

/// Files that exist in memory only: a directory exists while it has files.
#[derive(Debug, Clone, Default)]
pub struct TextFiles(BTreeMap<PathBuf, String>);

impl<const N: usize> From<[(&str, &str); N]> for TextFiles {
    fn from(files: [(&str, &str); N]) -> Self {
        Self(files.into_iter().map(|(path, text)| (path.into(), text.to_owned())).collect())
    }
}

impl Files for TextFiles {
    fn exists(&self, path: &Path) -> bool {
        self.is_file(path) || self.is_dir(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.0.keys().any(|file| file != path && file.starts_with(path))
    }

    fn is_file(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let below = self.0.keys().filter_map(|file| file.strip_prefix(directory).ok());
        let names: BTreeSet<_> = below.filter_map(|below| below.iter().next()).map(OsString::from).collect();
        Ok(names.into_iter().collect())
    }

    fn real_path(&self, path: &Path) -> PathBuf {
        path.components().fold(PathBuf::new(), |real, component| match component {
            Component::ParentDir => real.parent().map(Path::to_owned).unwrap_or(real),
            Component::CurDir => real,
            component => real.join(component),
        })
    }
}

/// The file system of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn real_path(&self, path: &Path) -> PathBuf {
        if let Ok(real) = std::fs::canonicalize(path) {
            return real;
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        absolute.components().fold(PathBuf::new(), |real, component| match component {
            Component::ParentDir => real.parent().map(Path::to_owned).unwrap_or(real),
            component => {
                let next = real.join(component);
                std::fs::canonicalize(&next).unwrap_or(next)
            }
        })
    }
}
