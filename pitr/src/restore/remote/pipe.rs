//! What goes through ssh: a tar archive that `tar` unpacks over there while it is written.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use barman_storage::{Operation, RelativePath, RemoteHost, RemoteInput};
use tar::{Builder, EntryType, Header};

use crate::restore::parcel::{Account, Parcel, ParcelReader};
use crate::restore::{DIRECTORY_MODE, Restore, RestoreError};

/// Unpacks into a directory. What is there under a name goes first, so that nothing is written through a link. The owner is
/// who unpacks.
const UNPACK: &str = r#"exec tar -x -p -o -f - -C "$1""#;

/// The same for what is made by the restore itself, and so is as old as it is there.
const UNPACK_NEW: &str = r#"exec tar -x -p -o -m -f - -C "$1""#;

/// A tar archive that is unpacked on the other host while it is written.
pub(super) struct Pipe {
    tar: Builder<BufWriter<RemoteInput>>,
}

impl Pipe {
    /// What goes to ssh at a time.
    const BUFFER_BYTES: usize = 256 * 1024;

    /// For files of the backup and the archive.
    pub(super) fn open(host: &RemoteHost, to: &Path) -> Result<Self, RestoreError> {
        Self::start(host, UNPACK, to)
    }

    /// For what is made by the restore itself.
    pub(super) fn open_new(host: &RemoteHost, to: &Path) -> Result<Self, RestoreError> {
        Self::start(host, UNPACK_NEW, to)
    }

    fn start(host: &RemoteHost, script: &str, to: &Path) -> Result<Self, RestoreError> {
        let input = host.start(script, &[to.as_os_str()])?;
        Ok(Self { tar: Builder::new(BufWriter::with_capacity(Self::BUFFER_BYTES, input)) })
    }

    pub(super) fn send(
        &mut self,
        restore: &Restore<'_>,
        parcel: &Parcel<'_>,
        account: Account<'_>,
    ) -> Result<(), RestoreError> {
        self.send_contents(&parcel.to, parcel.mode, parcel.open(restore, account)?)
    }

    pub(super) fn send_contents(
        &mut self,
        path: &RelativePath,
        mode: u32,
        mut reader: ParcelReader<'_>,
    ) -> Result<(), RestoreError> {
        let mut header = reader.header(mode);
        match self.tar.append_data(&mut header, path.as_path(), &mut reader) {
            Ok(()) => Ok(()),
            Err(error) => Err(reader.failure().unwrap_or_else(|| self.explain(error))),
        }
    }

    pub(super) fn small_file(&mut self, path: &RelativePath, mode: u32, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut header = header(EntryType::Regular, mode);
        header.set_size(bytes.len() as u64);
        self.tar.append_data(&mut header, path.as_path(), bytes).map_err(|error| self.explain(error))
    }

    pub(super) fn directory(&mut self, path: &RelativePath) -> Result<(), RestoreError> {
        let mut header = header(EntryType::Directory, DIRECTORY_MODE);
        self.tar.append_data(&mut header, path.as_path(), std::io::empty()).map_err(|error| self.explain(error))
    }

    pub(super) fn link(&mut self, path: &RelativePath, target: &Path) -> Result<(), RestoreError> {
        let mut header = header(EntryType::Symlink, 0o777);
        self.tar.append_link(&mut header, path.as_path(), target).map_err(|error| self.explain(error))
    }

    /// Waits until all is unpacked.
    pub(super) fn finish(self) -> Result<(), RestoreError> {
        let unusable =
            |error| RestoreError::from(barman_storage::Error::new(Operation::Write, "the other host", error));
        let mut buffer = self.tar.into_inner().map_err(unusable)?;
        buffer.flush().map_err(|error| RestoreError::from(buffer.get_ref().explain(error)))?;
        let input = buffer.into_inner().map_err(|error| unusable(error.into_error()))?;
        input.finish().map(drop).map_err(RestoreError::from)
    }

    fn explain(&self, error: std::io::Error) -> RestoreError {
        self.tar.get_ref().get_ref().explain(error).into()
    }
}

/// The entry of something that the restore makes, without a length and a time.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_mtime(0);
    header
}
