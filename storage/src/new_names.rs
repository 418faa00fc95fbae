//! Names that several files get together.

use std::ffi::OsString;

use rustix::fs::OFlags;

use crate::{Dir, Error, Operation, OutFile, PublishError, Published, RelativePath, Unpublished};

/// A file that is to get a second name. What waits for the disk, [`sync`](Self::sync), can be done before its turn has come.
#[derive(Debug)]
pub struct NamedFile {
    dir: Dir,
    name: OsString,
    file: OutFile,
}

impl Dir {
    /// Opens a regular file that is to get a second name.
    ///
    /// # Errors
    /// The file is absent, not a regular file, or may not be read.
    pub fn named_file(&self, path: &RelativePath) -> Result<NamedFile, Error> {
        let (dir, name) = self.locate(path)?;
        let file = dir.open_out(name, OFlags::RDONLY | OFlags::NOFOLLOW)?;
        Ok(NamedFile { dir, name: name.to_owned(), file })
    }
}

impl NamedFile {
    /// Makes the contents durable, as they are now: whoever relies on that sees to it that nobody writes to the file.
    ///
    /// # Errors
    /// The sync failed.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.file.sync()
    }

    fn has_its_name(&self) -> Result<bool, Error> {
        let named = self.dir.is_name_of(&self.name, self.file.fd());
        named.map_err(|error| self.dir.failed(Operation::LookUp, &self.name, error))
    }
}

/// Gives files their names, one after the other, and makes these durable with one sync of each directory, however many
/// names it got.
///
/// Contents are durable as soon as a file has its name. The name itself is only when [`sync`](Self::sync) has returned:
/// before, a crash may take it back, and nobody may be told of it (invariant 1).
#[derive(Debug, Default)]
#[must_use = "the names are durable only after a sync"]
pub struct NewNames {
    /// Those in which a name is new, or may be.
    directories: Vec<Dir>,
}

impl NewNames {
    /// Syncs a file and gives it its name, as [`Dir::publish_new`] does.
    ///
    /// # Errors
    /// As there.
    pub fn publish(&mut self, file: Unpublished) -> Result<Published<()>, PublishError> {
        let dir = file.directory().clone();
        let published = file.put_in_place()?;
        self.note(dir)?;
        Ok(published)
    }

    /// Syncs a file and gives it a second name, which must be free, in a directory of the same file system; a file with the
    /// same bytes that has it already will do. The first name stays until somebody removes it, so that there is no moment at
    /// which a crash leaves neither.
    ///
    /// Returns `None` where only a copy can have the name: on another file system, on one without links, because the
    /// kernel refuses links to what belongs to others, or because the first name stands for another file by now.
    ///
    /// # Errors
    /// As for [`Dir::rename_new`].
    pub fn link(
        &mut self,
        mut file: NamedFile,
        (to_dir, to): (&Dir, &RelativePath),
    ) -> Result<Option<Published<()>>, PublishError> {
        file.sync()?;
        let (to_dir, to) = to_dir.locate(to)?;
        if !file.has_its_name()? {
            return Ok(None);
        }
        let published = file.dir.link_or_compare(&file.name, &to_dir, to)?;
        if published.is_some() {
            self.note(to_dir)?;
        }
        Ok(published)
    }

    /// Makes the names durable.
    ///
    /// # Errors
    /// A sync failed: each of the names may be there, not to be relied on (invariant 2).
    pub fn sync(self) -> Result<(), Error> {
        self.directories.iter().try_for_each(Dir::sync)
    }

    fn note(&mut self, dir: Dir) -> Result<(), Error> {
        for known in &self.directories {
            if known.is_same_directory(&dir)? {
                return Ok(());
            }
        }
        self.directories.push(dir);
        Ok(())
    }
}
