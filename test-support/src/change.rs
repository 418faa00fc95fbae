//! Which system calls change a file, and which file.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// Newer than the libraries that tell the numbers of calls.
const SYS_FCHMODAT2: i64 = 452;

const CREATE: &str = "create";
const SYNC: &str = "sync";

/// A call that is about to change something.
#[derive(Debug)]
pub(crate) struct Change {
    kind: Kind,
    path: PathBuf,
}

/// What a call does, and in which arguments it says to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    target: Target,
    /// Whether a full disk lets it fail.
    needs_space: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The open file of this argument.
    File(usize),
    /// The path of this argument, from the working directory.
    Path(usize),
    /// The directory and the path of this argument and the next one.
    PathAt(usize),
}

impl Change {
    /// What a call of a stopped thread changes; `None` for one that changes nothing.
    pub(crate) fn of(thread: Pid, registers: &libc::user_regs_struct) -> Option<Self> {
        let r = registers;
        let arguments = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
        let kind = Kind::of(r.orig_rax.cast_signed(), &arguments)?;
        let path = match kind.target {
            Target::File(at) => opened(thread, arguments[at]),
            Target::Path(at) => directory(thread, libc::AT_FDCWD as u64).join(text(thread, arguments[at])),
            Target::PathAt(at) => directory(thread, arguments[at]).join(text(thread, arguments[at + 1])),
        };
        Some(Self { kind, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn needs_space(&self) -> bool {
        self.kind.needs_space
    }

    /// Whether it makes a file, or opens it where it is there.
    pub(crate) fn creates(&self) -> bool {
        self.kind.name == CREATE
    }

    pub(crate) fn is_sync(&self) -> bool {
        self.kind.name == SYNC
    }

    /// Whether it writes to an open file, or asks for the room to do so.
    pub(crate) fn is_write(&self) -> bool {
        matches!(self.kind, Kind { name: "write" | "fallocate" | "truncate", target: Target::File(_), .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name, self.path.display())
    }
}

impl Kind {
    fn of(call: i64, arguments: &[u64; 6]) -> Option<Self> {
        use Target::{File, Path, PathAt};
        let has = |flags: u64, any: libc::c_int| flags & u64::from(any.cast_unsigned()) != 0;
        let is_written = |flags: u64| has(flags, libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC);
        let opens = |flags: u64| if has(flags, libc::O_CREAT) { CREATE } else { "open" };
        let (name, target, needs_space) = match call {
            libc::SYS_open if is_written(arguments[1]) => (opens(arguments[1]), Path(0), true),
            libc::SYS_openat if is_written(arguments[2]) => (opens(arguments[2]), PathAt(0), true),
            libc::SYS_creat => (CREATE, Path(0), true),
            libc::SYS_write | libc::SYS_writev | libc::SYS_pwrite64 | libc::SYS_pwritev | libc::SYS_pwritev2 => {
                ("write", File(0), true)
            }
            libc::SYS_sendfile => ("sendfile", File(0), true),
            libc::SYS_copy_file_range => ("copy_file_range", File(2), true),
            libc::SYS_fallocate => ("fallocate", File(0), true),
            libc::SYS_ftruncate => ("truncate", File(0), false),
            libc::SYS_truncate => ("truncate", Path(0), false),
            libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_sync_file_range | libc::SYS_syncfs => {
                (SYNC, File(0), true)
            }
            libc::SYS_rename => ("rename", Path(1), false),
            libc::SYS_renameat | libc::SYS_renameat2 => ("rename", PathAt(2), false),
            libc::SYS_link => ("link", Path(1), true),
            libc::SYS_linkat => ("link", PathAt(2), true),
            libc::SYS_symlink => ("symlink", Path(1), true),
            libc::SYS_symlinkat => ("symlink", PathAt(1), true),
            libc::SYS_unlink => ("unlink", Path(0), false),
            libc::SYS_unlinkat => ("unlink", PathAt(0), false),
            libc::SYS_mkdir => ("mkdir", Path(0), true),
            libc::SYS_mkdirat => ("mkdir", PathAt(0), true),
            libc::SYS_rmdir => ("rmdir", Path(0), false),
            libc::SYS_chmod => ("chmod", Path(0), false),
            libc::SYS_fchmod => ("chmod", File(0), false),
            libc::SYS_fchmodat | SYS_FCHMODAT2 => ("chmod", PathAt(0), false),
            libc::SYS_utimensat if arguments[1] == 0 => ("utimens", File(0), false),
            libc::SYS_utimensat => ("utimens", PathAt(0), false),
            _ => return None,
        };
        Some(Self { name, target, needs_space })
    }
}

/// The file behind a descriptor.
fn opened(thread: Pid, descriptor: u64) -> PathBuf {
    std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).unwrap_or_default()
}

/// The directory that paths are relative to.
fn directory(thread: Pid, descriptor: u64) -> PathBuf {
    // Descriptors are 32 bits of the register.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    let is_working_directory = descriptor as i32 == libc::AT_FDCWD;
    if is_working_directory {
        std::fs::read_link(format!("/proc/{thread}/cwd")).unwrap_or_default()
    } else {
        opened(thread, descriptor)
    }
}

/// A path in the memory of a thread, which must be the stopped one; as much of it as can be read.
fn text(thread: Pid, address: u64) -> OsString {
    const WORD: u64 = size_of::<libc::c_long>() as u64;
    // Whole words, none of which reaches into a page that may not be there.
    let mut at = address - address % WORD;
    let mut skipped = (address % WORD) as usize;
    let mut bytes = Vec::new();
    while bytes.len() < libc::PATH_MAX as usize {
        let Ok(word) = ptrace::read(thread, at as ptrace::AddressType) else { break };
        let word = &word.to_ne_bytes()[skipped..];
        if let Some(end) = word.iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(&word[..end]);
            break;
        }
        bytes.extend_from_slice(word);
        (at, skipped) = (at + WORD, 0);
    }
    OsString::from_vec(bytes)
}
