//! What is below a directory on the other host before it is filled.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use barman_storage::{RelativePath, RemoteError, RemoteHost};

/// Prints the SHA-256 of each file that the input names.
const HASH: &str = r#"cd "$1" && xargs -0 -r sha256sum -z --"#;

/// What there is below a directory that is filled: files by their paths, with their lengths and permissions.
pub(super) type FilesThere = HashMap<RelativePath, (u64, u32)>;

/// Those below one of its directories, by their paths from there.
pub(super) fn files_below(there: &FilesThere, directory: &RelativePath) -> FilesThere {
    let below = |(path, facts): (&RelativePath, &(u64, u32))| {
        let path = path.as_path().strip_prefix(directory.as_path()).ok()?;
        Some((RelativePath::new(path).ok()?, *facts))
    };
    there.iter().filter_map(below).collect()
}

/// Returns the SHA-256 of files below `directory`.
pub(super) fn sums<'n>(
    host: &RemoteHost,
    directory: &Path,
    files: impl Iterator<Item = &'n RelativePath>,
) -> Result<HashMap<RelativePath, String>, RemoteError> {
    let printed = host.run_with(HASH, &[directory.as_os_str()], &names(files))?;
    Ok(printed.split(|byte| *byte == 0).filter_map(sum_line).collect())
}

/// Paths as `xargs -0` reads them; none begins like an option.
pub(super) fn names<'n>(paths: impl Iterator<Item = &'n RelativePath>) -> Vec<u8> {
    let mut names = Vec::new();
    for path in paths {
        names.extend_from_slice(b"./");
        names.extend_from_slice(path.as_path().as_os_str().as_encoded_bytes());
        names.push(0);
    }
    names
}

/// A path and its checksum, as `sha256sum -z` prints them.
fn sum_line(line: &[u8]) -> Option<(RelativePath, String)> {
    let (sum, path) = line.split_at_checked(64)?;
    let path = path.strip_prefix(b"  ./")?;
    Some((RelativePath::new(OsStr::from_bytes(path)).ok()?, String::from_utf8(sum.to_vec()).ok()?))
}
