//! Names that several files get together.

use rustix::fs::OFlags;

use crate::{Dir, Error, PublishError, Published, RelativePath, Unpublished};

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
    /// Returns `None` where only a copy can have the name: on another file system, on one without links, or because the
    /// kernel refuses links to what belongs to others.
    ///
    /// # Errors
    /// As for [`Dir::rename_new`].
    pub fn link(
        &mut self,
        (from_dir, from): (&Dir, &RelativePath),
        (to_dir, to): (&Dir, &RelativePath),
    ) -> Result<Option<Published<()>>, PublishError> {
        let (from_dir, from) = from_dir.locate(from)?;
        let (to_dir, to) = to_dir.locate(to)?;
        from_dir.open_out(from, OFlags::RDONLY | OFlags::NOFOLLOW)?.sync()?;
        let published = from_dir.link_or_compare(from, &to_dir, to)?;
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
