//! Bytes, durably.
//!
//! A backup is believed in only when it is needed, and by then the server that it came from is gone. So what this
//! product says is stored must be stored: through a crash of the program at any instruction and of the machine at any
//! write. File systems promise little by themselves. A file that was written may be empty after a power failure, its
//! name may be gone, and the error of a write may only be told to whoever asks for a sync, once.
//!
//! [`Dir`] is the one door through which the workspace changes files. Its operations keep writes, syncs and renames in
//! the order that survives, so that no caller has to remember it:
//!
//! ```
//! use barman_storage::{Dir, Published, PublishError, RelativePath};
//!
//! # let root = tempfile::tempdir().expect("temporary directory");
//! # let root = root.path();
//! let wals = Dir::create(&root.join("wals/0000000100000000"), 0o700)?;
//! let segment = RelativePath::new("000000010000000000000002").expect("a plain name");
//!
//! // The first time, the segment is written, synced, and given its name; then the name is synced.
//! let archive = |bytes: &[u8]| {
//!     wals.publish_new(&segment, 0o600, |file| Ok::<_, PublishError>(file.write_all(bytes)?))
//! };
//! assert_eq!(archive(b"the contents")?, Published::Created(()));
//! // PostgreSQL archives a segment again when it did not hear that it succeeded. The same bytes are fine ...
//! assert_eq!(archive(b"the contents")?, Published::AlreadyThere(()));
//! // ... and others are never written over what is there.
//! assert!(matches!(archive(b"other contents"), Err(PublishError::Conflict { .. })));
//! # Ok::<_, PublishError>(())
//! ```
//!
//! The other parts: [`RelativePath`], which cannot leave the directory it is used in; [`LockFile`], the locks that
//! Barman takes too; [`copy_files`], many files in parallel, checked on the way; [`codec`], compression and encryption;
//! [`Cancel`].
//!
//! With the feature `testing`, the module `testing` records what was done through a [`Dir`] and rebuilds what a crash
//! may leave of it, which is how the promises above are tested.
//!
//! This crate knows nothing of PostgreSQL. It needs Linux.

mod cancel;
mod change;
pub mod codec;
mod copy;
mod dir;
mod entry;
mod error;
mod lock;
mod new_names;
mod out_file;
mod publish;
mod relative_path;
mod remote_host;
mod replacement;
mod scratch;
mod temporary;
#[cfg(feature = "testing")]
pub mod testing;
mod throttle;
mod tree;

pub use cancel::{Cancel, Cancelled};
pub use copy::{CopyError, CopyItem, CopyOptions, CopyProgress, Existing, FileCheck, copy_files};
pub use dir::Dir;
pub use entry::{Entry, Kind, Stat};
pub use error::{Error, Operation, PublishError, one_line};
pub use lock::LockFile;
pub use new_names::{NamedFile, NewNames};
pub use out_file::OutFile;
pub use publish::{Published, Unpublished};
pub use relative_path::{InvalidPath, InvalidPathReason, RelativePath};
pub use remote_host::{InvalidSshCommand, RemoteError, RemoteHost, RemoteInput};
pub use replacement::Replacement;
pub use scratch::Scratch;
pub use throttle::Throttle;
