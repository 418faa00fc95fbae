//! What the user sees: lines on a terminal, or one JSON document at the end.

mod python_json;
mod redact;
pub(crate) mod time;
pub(crate) mod window;

use crate::exit_code;
use redact::redacted;
use serde_json::{Map, Value, json};
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lines of text.
    Console,
    /// One JSON object, printed when the program ends.
    Json,
}

/// When to use ANSI colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// Never.
    Never,
    /// Always.
    Always,
    /// Only when both standard output and standard error are terminals.
    Auto,
}

/// The only way a command speaks: it keeps the format, the quietness and the exit status.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    debug: bool,
    coloured: bool,
    exit_code: AtomicU8,
    document: Mutex<Map<String, Value>>,
}

impl Output {
    pub(crate) fn new(format: Format, colour: Colour, quiet: bool, debug: bool) -> Self {
        let coloured = match colour {
            Colour::Never => false,
            Colour::Always => true,
            Colour::Auto => io::stdout().is_terminal() && io::stderr().is_terminal(),
        };
        Self {
            format,
            quiet,
            debug,
            coloured,
            exit_code: AtomicU8::new(exit_code::SUCCESS),
            document: Mutex::new(Map::new()),
        }
    }

    /// One that says nothing but warnings, for what nobody is to read as the result of a command.
    pub(crate) fn silent() -> Self {
        Self::new(Format::Console, Colour::Never, true, false)
    }

    /// Returns the exit status that what was said so far leads to.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code.load(Ordering::Relaxed)
    }

    /// Makes the exit status at least `code`: of several failures the graver one counts.
    pub(crate) fn set_exit_code(&self, code: u8) {
        self.exit_code.fetch_max(code, Ordering::Relaxed);
    }

    /// Whether progress may be drawn: a terminal, text, and not quiet.
    pub(crate) fn draws_progress(&self) -> bool {
        self.format == Format::Console && !self.quiet && io::stderr().is_terminal()
    }

    /// Tells what is going on; `-q` silences it.
    pub(crate) fn info(&self, message: &str) {
        tracing::info!(target: "barman", "{}", redacted(message));
        self.message("_INFO", message, |line| self.print_line(line));
    }

    /// Warns, without changing the exit status.
    pub(crate) fn warning(&self, message: &str) {
        tracing::warn!(target: "barman", "{}", redacted(message));
        self.message("_WARNING", message, |line| self.print_diagnostic("WARNING", YELLOW, line));
    }

    /// Adds a warning to the JSON document; a terminal got the same in another form.
    pub(crate) fn json_warning(&self, message: &str) {
        if self.format == Format::Json {
            self.warning(message);
        }
    }

    /// Reports an error: the exit status becomes 1.
    pub(crate) fn error(&self, message: &str) {
        self.set_exit_code(exit_code::FAILURE);
        tracing::error!(target: "barman", "{}", redacted(message));
        self.message("_ERROR", message, |line| self.print_diagnostic("ERROR", RED, line));
    }

    /// Gives advice that belongs to the error just reported.
    pub(crate) fn hint(&self, message: &str) {
        self.message("_HINT", message, |line| self.print_diagnostic("HINT", YELLOW, line));
    }

    /// Shows a detail that only `--debug` asks for.
    pub(crate) fn debug(&self, message: &str) {
        tracing::debug!(target: "barman", "{}", redacted(message));
        if self.debug {
            self.message("_DEBUG", message, |line| self.print_diagnostic("DEBUG", PLAIN, line));
        }
    }

    /// Gives the result of a command for one server: `text` on a terminal, `value` under the server's name in JSON.
    pub(crate) fn result(&self, server: &str, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        match self.format {
            Format::Console => self.print_lines(&text()),
            Format::Json => self.merge(server, value()),
        }
    }

    /// Adds one key to the JSON document; on a terminal it means nothing.
    pub(crate) fn json_only(&self, key: &str, value: Value) {
        if self.format == Format::Json {
            self.with_document(|document| drop(document.insert(key.to_owned(), value)));
        }
    }

    /// Prints lines that only a terminal gets: JSON has the same facts as values.
    pub(crate) fn console_only(&self, text: &str) {
        if self.format == Format::Console {
            self.print_lines(text);
        }
    }

    /// Returns `OK` or `FAILED`, coloured where colours are wanted.
    pub(crate) fn outcome(&self, passed: bool) -> String {
        let (word, colour) = if passed { ("OK", GREEN) } else { ("FAILED", RED) };
        self.coloured(word, colour)
    }

    /// Ends the output: prints the JSON document, if that is the format and anything may be said.
    pub(crate) fn finish(&self) {
        if self.format == Format::Json && !self.quiet {
            let document = self.with_document(std::mem::take);
            // Barman prints no newline here, and some readers compare bytes.
            self.write(&mut io::stdout(), &python_json::to_string(&Value::Object(document)));
        }
    }

    fn message(&self, key: &str, message: &str, print: impl FnOnce(&str)) {
        let message = redacted(message);
        match self.format {
            Format::Console => print(&message),
            Format::Json => self.with_document(|document| {
                if let Value::Array(list) = document.entry(key).or_insert_with(|| json!([])) {
                    list.push(Value::String(message));
                }
            }),
        }
    }

    fn merge(&self, server: &str, value: Value) {
        self.with_document(|document| match (document.get_mut(server), value) {
            (Some(Value::Object(present)), Value::Object(more)) => present.extend(more),
            (_, value) => drop(document.insert(server.to_owned(), value)),
        });
    }

    fn print_line(&self, line: &str) {
        self.print_lines(&format!("{line}\n"));
    }

    /// Prints lines of which the last one may have no line break. All at once: there may be ten thousand of them.
    fn print_lines(&self, text: &str) {
        if !self.quiet && !text.is_empty() {
            let line_break = if text.ends_with('\n') { "" } else { "\n" };
            self.write(&mut io::stdout(), &format!("{text}{line_break}"));
        }
    }

    fn print_diagnostic(&self, label: &str, colour: &str, message: &str) {
        let text = self.coloured(&format!("{label}: {message}"), colour);
        self.write(&mut io::stderr(), &format!("{text}\n"));
    }

    fn coloured(&self, text: &str, colour: &str) -> String {
        if self.coloured && !colour.is_empty() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Writes, and goes on without a word where the reader has closed the pipe: `list-backups | head -1` is no error.
    /// Any other failure is one: somebody has not got what they asked for.
    fn write(&self, stream: &mut impl Write, text: &str) {
        let written = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        if written.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            self.set_exit_code(exit_code::FAILURE);
        }
    }

    fn with_document<T>(&self, action: impl FnOnce(&mut Map<String, Value>) -> T) -> T {
        // A panic while the lock was held leaves a usable map behind: every change is one insertion.
        action(&mut self.document.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

const PLAIN: &str = "";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
