//! Tests of the crate through its public interface.
#![allow(clippy::disallowed_methods, reason = "tests prepare and look at files without the code that they test")]

mod codec;
mod copy;
mod crash;
mod dir;
mod durability;
mod fault;
mod history;
mod lock;
mod publish;
mod tree;

use std::path::Path;

use barman_storage::{Dir, RelativePath};
use tempfile::TempDir;

/// An empty directory for one test.
fn empty_directory() -> (TempDir, Dir) {
    let root = tempfile::tempdir().expect("temporary directory");
    let dir = Dir::open(root.path()).expect("open");
    (root, dir)
}

fn path(path: &str) -> RelativePath {
    RelativePath::new(path).expect("plain names")
}

/// Bytes without zeros, so that a hole in them is seen; `salt` makes others of the same length.
fn contents(length: usize, salt: u8) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 249).expect("small") ^ (salt & 3)).map(|byte| byte + 4).collect()
}

/// The names in a directory, hidden ones included, in order.
fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("list");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}
