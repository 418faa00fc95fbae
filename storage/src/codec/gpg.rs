//! Encryption, by the user's own `gpg` and keyring.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;

use super::{FilterReader, FilterWriter};

/// Encrypts and decrypts with the keys of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpg {
    home: Option<PathBuf>,
}

impl Gpg {
    /// With the keys in this directory instead of those that `gpg` finds by itself.
    pub fn with_home(home: impl Into<PathBuf>) -> Self {
        Self { home: Some(home.into()) }
    }

    /// Starts `gpg`; what is written is encrypted into `target` for a recipient: a key's id, fingerprint or user id.
    ///
    /// # Errors
    /// There is no `gpg`.
    pub fn writer<W: Write>(&self, recipient: &str, target: W) -> io::Result<FilterWriter<W>> {
        let mut command = self.command();
        command.args(["--compress-level", "0", "--recipient", recipient, "--encrypt"]);
        FilterWriter::start(command, target)
    }

    /// Starts `gpg`; what is read is what `file` holds from its beginning, decrypted. What `gpg` then says of its integrity
    /// comes with the end: nothing read is to be relied on before that.
    ///
    /// # Errors
    /// There is no `gpg`.
    pub fn reader(&self, file: File, passphrase: Vec<u8>) -> io::Result<impl Read + fmt::Debug + use<>> {
        let mut command = self.command();
        // The passphrase takes the one pipe that both ends know of. So the file is named, but not by its path, which may
        // stand for another one by now.
        command.args(["--passphrase-fd", "0", "--output", "-", "--decrypt", "--"]);
        command.arg(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        // Where the key has no passphrase, or an agent knows it, none is read.
        let reader = FilterReader::start(command, Cursor::new(passphrase), false)?;
        Ok(DecryptedFile { _file: file, reader })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        if let Some(home) = &self.home {
            command.arg("--homedir").arg(home);
        }
        // A recipient without a key is an error at once: nobody waits for a key server, or trusts what it says.
        command.args(["--quiet", "--yes", "--batch", "--pinentry-mode", "loopback", "--no-auto-key-locate"]);
        command
    }
}

struct DecryptedFile {
    /// Open for as long as `gpg` reads it.
    _file: File,
    reader: FilterReader<Cursor<Vec<u8>>>,
}

impl Read for DecryptedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl fmt::Debug for DecryptedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptedFile")
    }
}
