//! A stand-in for ssh: what is to run on another host runs here, and everything that is asked of it comes later.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a question is under way.
const LATENCY: Duration = Duration::from_millis(50);

/// Whether this program was called by the name of ssh.
pub(crate) fn is_asked_for() -> bool {
    std::env::args_os().next().is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "ssh"))
}

/// Runs the command that stands behind ssh's options and the host, and passes on each line of input when its time has come.
pub(crate) fn run() {
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-p" | "-o" => drop(words.next()),
            option if option.starts_with('-') => {}
            _host => break,
        }
    }
    let command = words.collect::<Vec<_>>().join(" ");
    thread::sleep(LATENCY);
    let mut far = Command::new("sh").args(["-c", &command]).stdin(Stdio::piped()).spawn().expect("there is a shell");
    let mut input = far.stdin.take().expect("it is a pipe");
    let (ask, asked) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (due, line) in asked {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // It may have ended.
            let _ = input.write_all(&line);
        }
    });
    thread::spawn(move || {
        let mut questions = std::io::stdin().lock();
        let mut line = Vec::new();
        while questions.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let _ = ask.send((Instant::now() + LATENCY, std::mem::take(&mut line)));
        }
    });
    let status = far.wait().expect("it is a child");
    std::process::exit(status.code().unwrap_or(1));
}
