//! `barman get-wal` at the other end of ssh, called for each file.

use crate::Arguments;
use barman_catalog::Partial;
use barman_pitr::{FoundWal, SourceError, WalSource};
use barman_storage::codec::Format;
use std::io::{self, Cursor, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use wal_format::WalFileName;

/// What ssh itself ends with when it does not get through.
const SSH_FAILED: i32 = 255;

/// Why Barman's end gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("Connection problem with ssh")]
    Connection,
    #[error("Remote 'barman get-wal' command has failed!")]
    Failed { code: u8 },
    /// It was killed, say.
    #[error("Remote 'barman get-wal' command has ended with {status}")]
    Unexplained { status: ExitStatus },
    #[error("ssh cannot be started")]
    Start(#[source] io::Error),
    #[error("what was received cannot be read")]
    Received(#[source] io::Error),
}

/// Barman on another host.
#[derive(Clone, Debug)]
pub(crate) struct RemoteBarman {
    ssh: Vec<String>,
    barman: String,
    options: String,
    server: String,
    /// Whether to find out, of what cannot be had, whether it is there: PostgreSQL wants to know, Barman's exit code does not
    /// tell.
    distinguishes: bool,
}

impl RemoteBarman {
    pub(crate) fn of(arguments: &Arguments, host: &str, server: &str) -> Self {
        let mut ssh: Vec<String> = Vec::new();
        ssh.extend(arguments.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
        ssh.extend(["-q".to_owned(), "-T".to_owned()]);
        if arguments.feed {
            // A connection that hangs is an error, too; and nobody is there to type a password.
            let options = ["BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=3"];
            ssh.extend(options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]));
        }
        ssh.push(format!("{}@{host}", arguments.user));
        let config = arguments.config.iter().map(|file| format!(" --config {}", shell_word(file))).collect::<String>();
        let flags = [
            ("--gzip", arguments.gzip),
            ("--bzip2", arguments.bzip2),
            ("--keep-compression", arguments.keep_compression),
        ];
        let options = flags.iter().filter(|(_, given)| *given).map(|(flag, _)| format!(" {flag}")).collect();
        Self {
            ssh,
            barman: format!("barman{config}"),
            options,
            server: server.to_owned(),
            distinguishes: arguments.feed,
        }
    }

    /// Prints what the other end has to say about whether WAL can be fetched, and returns its exit code.
    pub(crate) fn test(&self) -> Result<(), RemoteError> {
        let output = self.command(" --test", "dummy_wal_name").output().map_err(RemoteError::Start)?;
        // What went wrong there is on standard output here, as with Barman's client.
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        succeeded(output.status)
    }

    /// Returns the names of up to `limit` files that are there, from this one on.
    pub(crate) fn peek(&self, name: &str, limit: usize, partial: Partial) -> Result<Vec<String>, RemoteError> {
        let options = format!(" --peek '{limit}'{}", flag(partial));
        let output = self.command(&options, name).stderr(Stdio::inherit()).output().map_err(RemoteError::Start)?;
        succeeded(output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect())
    }

    /// Has a file sent.
    fn get(&self, name: &str, partial: Partial) -> Result<FoundWal, RemoteError> {
        const HEAD: u64 = 32;
        let options = format!("{}{}", self.options, flag(partial));
        let mut sent = Sent::by(self.command(&options, name))?;
        let mut head = Vec::new();
        sent.by_ref().take(HEAD).read_to_end(&mut head).map_err(RemoteError::from)?;
        let format = Format::detect(&head);
        // Whether it is an unfinished one is not said.
        let is_unfinished = partial == Partial::Include;
        Ok(FoundWal { bytes: Box::new(Cursor::new(head).chain(sent)), format, is_unfinished, content: None })
    }

    /// The same; `None` if it is not there.
    fn get_if_there(&self, name: &str, partial: Partial) -> Result<Option<FoundWal>, RemoteError> {
        match self.get(name, partial) {
            Err(RemoteError::Failed { .. }) if self.peek(name, 1, partial)?.is_empty() => Ok(None),
            got => got.map(Some),
        }
    }

    /// Returns the command that runs `get-wal` with these options at the other end.
    pub(crate) fn command(&self, options: &str, name: &str) -> Command {
        let mut command = Command::new("ssh");
        let remote = format!("{} get-wal{options} {} {}", self.barman, quoted(&self.server), quoted(name));
        command.args(&self.ssh).arg(remote).stdin(Stdio::null());
        command
    }
}

impl WalSource for RemoteBarman {
    fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<FoundWal>, SourceError> {
        let text = name.to_string();
        if !self.distinguishes {
            return Ok(Some(self.get(&text, partial)?));
        }
        // A whole one is looked at more closely, so it must be known to be one.
        Ok(match (self.get_if_there(&text, Partial::Exclude)?, name, partial) {
            (None, WalFileName::Segment(_), Partial::Include) => self.get_if_there(&text, Partial::Include)?,
            (found, _, _) => found,
        })
    }
}

/// What a program sends. Its end is only one if the program ends well.
#[derive(Debug)]
struct Sent {
    program: Child,
    output: Option<ChildStdout>,
}

impl Sent {
    fn by(mut command: Command) -> Result<Self, RemoteError> {
        let mut program = command.stdout(Stdio::piped()).spawn().map_err(RemoteError::Start)?;
        let output = program.stdout.take();
        Ok(Self { program, output })
    }
}

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(output) = &mut self.output else { return Ok(0) };
        let length = output.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            self.output = None;
            succeeded(self.program.wait()?).map_err(io::Error::other)?;
        }
        Ok(length)
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if self.output.take().is_some() {
            // Nobody wants the rest. It may have ended by itself.
            let _ = self.program.kill();
            let _ = self.program.wait();
        }
    }
}

impl From<io::Error> for RemoteError {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Received)
    }
}

fn flag(partial: Partial) -> &'static str {
    match partial {
        Partial::Include => " --partial",
        Partial::Exclude => "",
    }
}

pub(crate) fn succeeded(status: ExitStatus) -> Result<(), RemoteError> {
    match status.code() {
        Some(0) => Ok(()),
        Some(SSH_FAILED) => Err(RemoteError::Connection),
        Some(code) => Err(RemoteError::Failed { code: u8::try_from(code).unwrap_or(1) }),
        None => Err(RemoteError::Unexplained { status }),
    }
}

/// One word for the shell at the other end, quoted always, as Barman sends it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

/// One word, quoted where it has to be.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%_-+=:,./".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { quoted(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn command_line(arguments: &[&str]) -> Vec<String> {
        let arguments = Arguments::parse_from([&["barman-wal-restore"], arguments, &["h", "ma in", "x", "y"]].concat());
        let command = RemoteBarman::of(&arguments, "h", "ma in").command(" --partial", "000000010000000000000005");
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_other_end_is_asked_as_barman_asks_it() {
        let get = "barman get-wal --partial 'ma in' '000000010000000000000005'";
        assert_eq!(command_line(&[]), ["-q", "-T", "barman@h", get]);
        let config = get.replace("barman ", "barman --config /x.conf ");
        assert_eq!(
            command_line(&["-U", "joe", "--port", "22", "-c", "/x.conf"]),
            ["-p", "22", "-q", "-T", "joe@h", &config]
        );
        assert_eq!(quoted("it's"), r#"'it'"'"'s'"#);
        assert_eq!(shell_word("/a b"), "'/a b'");
    }
}
