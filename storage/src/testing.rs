//! Recording what is done through [`Dir`](crate::Dir), and rebuilding what a crash may leave of it.
//!
//! A [`Recorder`] sees every change below a directory, whoever opens it in this process. The [`Recording`] then
//! answers: if the machine had failed after the first so many changes, what could the disk hold? The model is the least
//! that file systems promise:
//!
//! - Contents and length of a file are durable once the file was synced after they were written; mode and time as well,
//!   unless the sync was of the contents only. Before that each write survives whole, in part, or not at all,
//!   independently of the others, so a file may be empty, torn, or full of holes.
//! - A name that was created, linked, renamed or removed is durable once its directory was synced afterwards. Before
//!   that it survives or not. A file that nobody gave a durable name may be lost, however often it was synced itself.
//! - A rename happens wholly or not at all; if it is lost, the old name stays. Between two directories it is durable
//!   once both were synced.
//!
//! ```
//! use barman_storage::testing::Recorder;
//! use barman_storage::{Dir, RelativePath};
//!
//! # let root = tempfile::tempdir().expect("temporary directory");
//! # let root = root.path();
//! let recorder = Recorder::start(root);
//! let dir = Dir::open(root)?;
//! dir.replace(&RelativePath::literal("status"), 0o600, b"DONE")?;
//!
//! let recording = recorder.recording();
//! let returned = recording.len();
//! // Whatever is lost once `replace` has returned, it is not the file.
//! let is_safe = |position, survivors: &barman_storage::testing::Survivors| {
//!     position < returned || survivors.file("status") == Some(b"DONE")
//! };
//! assert_eq!(recording.find_crash(50, is_safe), None);
//! // And each of its syncs is needed for that.
//! for sync in recording.syncs() {
//!     assert!(recording.without_sync(sync).find_crash(50, is_safe).is_some());
//! }
//! # Ok::<_, barman_storage::Error>(())
//! ```
//!
//! The recorder makes one change after the other, also where several threads work. It can let a change fail instead, to
//! see what becomes of the error.

mod dice;
mod journal;
mod node;
mod recording;
mod survivors;

pub(crate) use journal::Journal;
pub use journal::Recorder;
pub use recording::{Crash, Loss, Recording};
pub use survivors::Survivors;
