//! Another host, where shell commands run through ssh.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, ExitStatus};

use crate::codec::{FilterWriter, ProgramFailed};

/// What is added to every command. Nobody is there to type a password; a connection that hangs is an error, too; and
/// whoever holds the host's name with another key than before gets no data. Options that the command has itself come
/// first, and ssh takes the first of each.
const OPTIONS: [&str; 5] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=accept-new",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
];

/// What ssh itself ends with when it does not get through, or is cut off.
const SSH_FAILED: i32 = 255;

/// More than any answer that is kept: the names of millions of files.
const LONGEST_ANSWER_BYTES: usize = 1 << 30;

/// Another host, reached by a command such as `ssh postgres@pg`. It has to have a POSIX shell and the programs that
/// scripts name; nothing of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHost {
    command: Vec<String>,
    is_compressed: bool,
}

/// The command by which a host is to be reached is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{command}' is no command for ssh: expected words, such as 'ssh user@host'")]
pub struct InvalidSshCommand {
    /// What was given.
    pub command: String,
}

/// Why a command on another host did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// ssh did not get through, or was cut off.
    #[error("no connection by '{command}'{}", said(errors))]
    Connection {
        /// The command with which it was tried.
        command: String,
        /// What ssh says.
        errors: String,
    },
    /// The command failed there.
    #[error("a command by '{command}' failed there: {status}{}", said(errors))]
    Failed {
        /// How the host was reached.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it says.
        errors: String,
    },
    /// ssh cannot be started, or talked to.
    #[error("'{command}' cannot be run")]
    Unusable {
        /// How the host was to be reached.
        command: String,
        /// What is in the way.
        source: io::Error,
    },
}

impl RemoteError {
    /// Whether trying again may help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}

fn said(errors: &str) -> String {
    let errors = errors.trim();
    if errors.is_empty() { String::new() } else { format!(": {errors}") }
}

impl RemoteHost {
    /// The host that a command line leads to; its words are separated as a shell does it.
    ///
    /// # Errors
    /// It has no words, or a quote without its other end.
    pub fn by_command(line: &str) -> Result<Self, InvalidSshCommand> {
        match shell_words::split(line) {
            Ok(command) if !command.is_empty() => Ok(Self { command, is_compressed: false }),
            _ => Err(InvalidSshCommand { command: line.to_owned() }),
        }
    }

    /// The same, with all that is sent compressed on its way.
    #[must_use]
    pub fn compressed(self) -> Self {
        Self { is_compressed: true, ..self }
    }

    /// Runs a script of the shell there, and returns what it prints. `$1` and so on are the arguments.
    ///
    /// # Errors
    /// There is no connection, or the script fails.
    pub fn run(&self, script: &str, arguments: &[&OsStr]) -> Result<Vec<u8>, RemoteError> {
        self.run_with(script, arguments, &[])
    }

    /// The same, with this on its standard input.
    ///
    /// # Errors
    /// As [`RemoteHost::run`].
    pub fn run_with(&self, script: &str, arguments: &[&OsStr], input: &[u8]) -> Result<Vec<u8>, RemoteError> {
        let mut running = self.start(script, arguments)?;
        running.write_all(input).map_err(|error| running.explain(error))?;
        running.finish()
    }

    /// Starts a script there; what is written goes to its standard input.
    ///
    /// # Errors
    /// ssh cannot be started.
    pub fn start(&self, script: &str, arguments: &[&OsStr]) -> Result<RemoteInput, RemoteError> {
        let command = shell_words::join(&self.command);
        match FilterWriter::start(self.command_for(script, arguments), Answer::default()) {
            Ok(writer) => Ok(RemoteInput { writer, command }),
            Err(source) => Err(RemoteError::Unusable { command, source }),
        }
    }

    fn command_for(&self, script: &str, arguments: &[&OsStr]) -> Command {
        let mut command = Command::new(self.command.first().map_or("ssh", String::as_str));
        command.args(self.command.iter().skip(1));
        command.args(OPTIONS.iter().flat_map(|option| ["-o", option]));
        if self.is_compressed {
            command.args(["-o", "Compression=yes"]);
        }
        // Whatever the user's login shell is: it only has to understand quotes.
        let mut line = OsString::from("exec sh -c");
        for word in [OsStr::new(script), OsStr::new("sh")].iter().chain(arguments) {
            line.push(" ");
            line.push(quoted(word));
        }
        command.arg(line);
        command
    }
}

/// One word for a shell, quoted always.
fn quoted(word: &OsStr) -> OsString {
    let mut bytes = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => bytes.extend_from_slice(br"'\''"),
            byte => bytes.push(*byte),
        }
    }
    bytes.push(b'\'');
    OsStr::from_bytes(&bytes).to_owned()
}

/// The standard input of a script on another host. Without [`RemoteInput::finish`] it is cut off.
#[derive(Debug)]
pub struct RemoteInput {
    writer: FilterWriter<Answer>,
    command: String,
}

impl RemoteInput {
    /// Waits for the script's end; returns what it printed.
    ///
    /// # Errors
    /// It failed, or the connection did.
    pub fn finish(self) -> Result<Vec<u8>, RemoteError> {
        let Self { writer, command } = self;
        writer.finish().map(|answer| answer.0).map_err(|error| explain(command, error))
    }

    /// Says why a write failed.
    #[must_use]
    pub fn explain(&self, error: io::Error) -> RemoteError {
        explain(self.command.clone(), error)
    }
}

impl Write for RemoteInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn explain(command: String, error: io::Error) -> RemoteError {
    match error.downcast::<ProgramFailed>() {
        Ok(ProgramFailed { status, errors, .. }) if status.code() == Some(SSH_FAILED) => {
            RemoteError::Connection { command, errors }
        }
        Ok(ProgramFailed { status, errors, .. }) => RemoteError::Failed { command, status, errors },
        Err(source) => RemoteError::Unusable { command, source },
    }
}

/// What a script prints.
#[derive(Debug, Default)]
struct Answer(Vec<u8>);

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > LONGEST_ANSWER_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "its answer is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sh -c 'shift N; exec sh -c "$1"'` in place of ssh: what comes last is a command for a shell.
    fn here() -> RemoteHost {
        RemoteHost::by_command("sh -c 'for last; do :; done; exec sh -c \"$last\"' ssh").unwrap()
    }

    #[test]
    fn scripts_get_their_arguments_and_input_as_they_are() {
        let arguments = ["it's", "$HOME `id`", "a  b\n"].map(OsStr::new);
        let printed = here().run_with("printf '%s|' \"$@\"; cat", &arguments, b"input").unwrap();
        assert_eq!(String::from_utf8_lossy(&printed), "it's|$HOME `id`|a  b\n|input");
    }

    #[test]
    fn a_lost_connection_is_no_failed_command() {
        let lost = here().run("echo cut >&2; exit 255", &[]).unwrap_err();
        assert!(lost.is_transient() && lost.to_string().ends_with(": cut"), "{lost}");
        let failed = here().run("echo full >&2; exit 1", &[]).unwrap_err();
        assert!(!failed.is_transient() && failed.to_string().ends_with("exit status: 1: full"), "{failed}");
        let missing = RemoteHost::by_command("/nonexistent/ssh pg").unwrap().run("true", &[]).unwrap_err();
        assert!(matches!(missing, RemoteError::Unusable { .. }), "{missing}");
        // More than a pipe holds.
        let unread = here().run_with("exit 3", &[], &[0; 1 << 20]).unwrap_err();
        assert!(matches!(unread, RemoteError::Failed { .. }), "{unread}");
    }

    #[test]
    fn a_command_needs_a_word() {
        for line in ["", "  ", "ssh 'pg"] {
            assert!(RemoteHost::by_command(line).is_err(), "{line:?}");
        }
    }
}
