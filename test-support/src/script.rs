//! Programs that a test writes and then runs.

use std::path::Path;
use std::process::Command;

use crate::CommandExt;

/// Writes a shell script that anybody may run, in place of an older one that may be running.
///
/// A child writes it. A file that this process has open for writing is open in each child that another test is just starting,
/// too, and as long as it is, nobody can run it (`ETXTBSY`).
///
/// # Panics
/// It cannot be written.
pub fn write_script(path: &Path, text: &str) {
    let write = r#"cat > "$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0""#;
    let written = Command::new("sh").args(["-c", write]).arg(path).finish_with(&format!("#!/bin/sh\n{text}\n"));
    assert_eq!(written.code, Some(0), "cannot write {}: {written:?}", path.display());
}
