//! Programs that bytes are sent through.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// A shell command that reads its standard input and writes its standard output, such as `gzip -c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellFilter {
    command: String,
}

impl ShellFilter {
    /// The filter of this command line.
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: command.into() }
    }

    /// Starts it; what is written goes through it into `target`.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub fn writer<W: Write>(&self, target: W) -> io::Result<FilterWriter<W>> {
        FilterWriter::start(self.shell(), target)
    }

    /// Starts it; what is read comes from `source` through it.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub fn reader<R: Read>(&self, source: R) -> io::Result<FilterReader<R>> {
        FilterReader::start(self.shell(), source, true)
    }

    fn shell(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.command]);
        command
    }
}

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
#[error("'{program}' failed: {status}{}", said(errors))]
pub struct ProgramFailed {
    /// The program, without arguments.
    pub program: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The end of what it wrote to its standard error.
    pub errors: String,
}

fn said(errors: &str) -> String {
    let errors = errors.trim();
    if errors.is_empty() { String::new() } else { format!(": {errors}") }
}

/// Buffers between a program and us.
const BUFFER: usize = 128 * 1024;

/// Writes through a program. Without [`FilterWriter::finish`] the program is ended where it stands.
pub struct FilterWriter<W> {
    program: Program,
    target: W,
    buffer: Vec<u8>,
}

impl<W: Write> FilterWriter<W> {
    pub(crate) fn start(command: Command, target: W) -> io::Result<Self> {
        Ok(Self { program: Program::start(command)?, target, buffer: vec![0; BUFFER] })
    }

    /// Waits for the rest of the program's output, and for its end; returns what it was written to.
    ///
    /// # Errors
    /// A [`ProgramFailed`], or `target` cannot be written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.program.input = None;
        while self.program.output.is_some() {
            self.exchange(&[])?;
        }
        self.program.wait_for_all()?;
        Ok(self.target)
    }

    /// Passes on output, and input if there is any; returns how much of that was taken.
    fn exchange(&mut self, input: &[u8]) -> io::Result<usize> {
        let exchanged = self.program.exchange(input, &mut self.buffer)?;
        self.target.write_all(self.buffer.get(..exchanged.received).unwrap_or_default())?;
        Ok(exchanged.taken)
    }
}

impl<W: Write> Write for FilterWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while !bytes.is_empty() {
            if self.program.input.is_none() {
                self.program.wait_for_all()?;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = self.exchange(bytes)?;
            if taken > 0 {
                return Ok(taken);
            }
        }
        Ok(0)
    }

    /// A program cannot be told to.
    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

impl<W> fmt::Debug for FilterWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FilterWriter").field(&self.program.name).finish()
    }
}

/// Reads through a program. The end of what it writes counts only if the program ends well.
pub struct FilterReader<R> {
    program: Program,
    source: R,
    /// What was read from the source, of which the program has taken `taken` bytes.
    waiting: Vec<u8>,
    taken: usize,
    takes_all: bool,
}

impl<R: Read> FilterReader<R> {
    /// Without `takes_all` the program may leave as much of its input unread as it likes.
    pub(super) fn start(command: Command, source: R, takes_all: bool) -> io::Result<Self> {
        Ok(Self { program: Program::start(command)?, source, waiting: Vec::new(), taken: 0, takes_all })
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.taken < self.waiting.len() || self.program.input.is_none() {
            return Ok(());
        }
        self.taken = 0;
        self.waiting.clear();
        if self.source.by_ref().take(BUFFER as u64).read_to_end(&mut self.waiting)? == 0 {
            self.program.input = None;
        }
        Ok(())
    }
}

impl<R: Read> Read for FilterReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.program.output.is_some() {
            self.fill()?;
            let exchanged = self.program.exchange(self.waiting.get(self.taken..).unwrap_or_default(), buffer)?;
            self.taken += exchanged.taken;
            if exchanged.received > 0 {
                return Ok(exchanged.received);
            }
        }
        match self.takes_all {
            true => self.program.wait_for_all()?,
            false => self.program.wait()?,
        }
        Ok(0)
    }
}

impl<R> fmt::Debug for FilterReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FilterReader").field(&self.program.name).finish()
    }
}

/// A running program and our ends of its pipes. All three are served at once: it may write before it has read all, and
/// complain before it has written.
struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
    /// What it wrote to `errors`, as far as it is kept.
    said: Vec<u8>,
    /// Whether it closed its input before the end of that.
    left_unread: bool,
    /// How it ended, once that is known.
    ended: Option<ExitStatus>,
}

/// What one look at the pipes brought.
struct Exchanged {
    taken: usize,
    received: usize,
}

impl Program {
    fn start(mut command: Command) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let name = if name == "/bin/sh" { shell_command(&command) } else { name };
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child =
            spawned.map_err(|error| io::Error::new(error.kind(), format!("cannot run '{name}': {error}")))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        if let Some(input) = &input {
            // A pipe that has room for some takes the rest only when the program reads: we must not wait for that.
            rustix::fs::fcntl_setfl(input, rustix::fs::fcntl_getfl(input)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { name, child, input, output, errors, said: Vec::new(), left_unread: false, ended: None })
    }

    /// Waits until the program takes some of `input` or has something to say.
    fn exchange(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Exchanged> {
        let [can_write, can_read, has_errors] = self.poll(!input.is_empty())?;
        if has_errors {
            self.keep_errors()?;
        }
        let received = if can_read { self.receive(output)? } else { 0 };
        let taken = if can_write { self.give(input)? } else { 0 };
        Ok(Exchanged { taken, received })
    }

    fn poll(&self, wants_to_write: bool) -> io::Result<[bool; 3]> {
        let input = self.input.as_ref().filter(|_| wants_to_write).map(|fd| (fd.as_fd(), PollFlags::OUT));
        let output = self.output.as_ref().map(|fd| (fd.as_fd(), PollFlags::IN));
        let errors = self.errors.as_ref().map(|fd| (fd.as_fd(), PollFlags::IN));
        let wanted = [input, output, errors];
        let mut fds: Vec<_> =
            wanted.iter().flatten().map(|(fd, events)| PollFd::from_borrowed_fd(*fd, *events)).collect();
        loop {
            match rustix::event::poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                polled => break polled.map(drop)?,
            }
        }
        let mut answers = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(wanted.map(|wanted| wanted.is_some() && answers.next() == Some(true)))
    }

    fn give(&mut self, input: &[u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.input else { return Ok(0) };
        match pipe.write(input) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.input = None;
                self.left_unread = true;
                Ok(0)
            }
            written => written,
        }
    }

    fn receive(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.output else { return Ok(0) };
        let read = pipe.read(output)?;
        if read == 0 {
            self.output = None;
        }
        Ok(read)
    }

    /// Keeps the end of what it complains about.
    fn keep_errors(&mut self) -> io::Result<()> {
        const KEPT: usize = 2000;
        let Some(pipe) = &mut self.errors else { return Ok(()) };
        let mut piece = [0; KEPT];
        let read = pipe.read(&mut piece)?;
        if read == 0 {
            self.errors = None;
        }
        self.said.extend_from_slice(piece.get(..read).unwrap_or_default());
        let excess = self.said.len().saturating_sub(KEPT);
        self.said.drain(..excess);
        Ok(())
    }

    /// Waits for its end, which has to be a good one.
    fn wait(&mut self) -> io::Result<()> {
        self.left_unread |= self.input.take().is_some();
        while self.errors.is_some() {
            self.keep_errors()?;
        }
        let status = self.child.wait()?;
        self.ended = Some(status);
        if status.success() { Ok(()) } else { Err(io::Error::other(self.failure(status))) }
    }

    /// Like [`Program::wait`], for what is worth nothing unless all of the input went into it.
    fn wait_for_all(&mut self) -> io::Result<()> {
        self.wait()?;
        if self.left_unread {
            let said = format!("'{}' ended before it had read everything", self.name);
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, said));
        }
        Ok(())
    }

    fn failure(&self, status: ExitStatus) -> ProgramFailed {
        let errors = String::from_utf8_lossy(&self.said).into_owned();
        ProgramFailed { program: self.name.clone(), status, errors }
    }
}

/// Whoever gives up half-way, for an error of another part, must not leave programs behind.
impl Drop for Program {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Fails if it has ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn shell_command(command: &Command) -> String {
    command.get_args().last().map(|last| last.to_string_lossy().into_owned()).unwrap_or_default()
}
