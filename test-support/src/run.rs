//! Running a program to its end.

use std::io::Write;
use std::process::{Command, Stdio};

/// What a program that ran to its end said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

/// Ways to run a [`Command`] to its end, for tests.
pub trait CommandExt {
    /// Runs it without input and returns what it said, whatever the exit code.
    ///
    /// # Panics
    /// It cannot be started.
    fn finish(&mut self) -> Finished;

    /// Runs it with `input` and returns what it said, whatever the exit code.
    ///
    /// # Panics
    /// It cannot be started.
    fn finish_with(&mut self, input: &str) -> Finished;

    /// Runs it without input and returns its standard output.
    ///
    /// # Panics
    /// It cannot be started or does not exit with 0; the message holds all it said.
    fn succeed(&mut self) -> String;
}

impl CommandExt for Command {
    fn finish(&mut self) -> Finished {
        self.finish_with("")
    }

    fn finish_with(&mut self, input: &str) -> Finished {
        let spawned = self.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot run {self:?}: {error}"));
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        let input = input.to_owned();
        // In a thread, so that a program that talks before it has read everything cannot block both of us. One that
        // ends without reading is not an error of the test.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("a child can be waited for");
        feeder.join().expect("writing does not panic");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn succeed(&mut self) -> String {
        let finished = self.finish();
        let Finished { code, stdout, stderr } = &finished;
        assert_eq!(*code, Some(0), "{self:?}\nstdout: {stdout}\nstderr: {stderr}");
        finished.stdout
    }
}
