//! One connection on which file after file is asked for.
//!
//! The end that has the WAL greets first: by that it is told from one that does not know how to answer. Each question is a
//! line ([`Question`]), and several may be asked before the first is answered; answers come in the order of the questions.
//! An answer is a line ([`Head`]) and, if the file is there, the file as it is stored: pieces, each behind a line that says
//! how long it is, and a line that says how it ended ([`Piece`]). Nothing but that line makes a file whole.

use std::fmt;
use std::str::FromStr;

use barman_catalog::Content;
use barman_storage::codec::Format;

use super::question::{LONGEST_LINE, NotUnderstood, Question, on_a_line};

mod answering;
mod asking;

pub use answering::answer_session;
pub use asking::{Session, SessionError};

/// What the end that has the WAL says first; another number would be another language.
const GREETING: &str = "barman-wal 1";

/// How many bytes of a file follow each other without a line between them, at most.
const LONGEST_PIECE: usize = 256 * 1024;

/// How an answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Head {
    /// The file follows.
    Found { is_unfinished: bool, format: Option<Format>, content: Option<Content> },
    /// The archive was asked, and does not have it.
    Missing,
    /// It cannot be had, in words.
    Failed(String),
}

/// What comes next of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// So many bytes.
    Bytes(usize),
    /// Nothing: it is whole.
    End,
    /// Nothing: the rest cannot be had, in words.
    Failed(String),
}

/// What stands for nothing known.
const NOTHING: &str = "-";

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { is_unfinished, format, content } => {
                let kind = if *is_unfinished { "unfinished" } else { "whole" };
                write!(f, "{kind} {} ", format.map_or(NOTHING, Format::name))?;
                match content {
                    Some(Content { bytes, crc32c }) => write!(f, "{bytes} {crc32c:08x}"),
                    None => write!(f, "{NOTHING} {NOTHING}"),
                }
            }
            Self::Missing => f.write_str("missing"),
            Self::Failed(reason) => write!(f, "failed {}", on_a_line(reason)),
        }
    }
}

impl FromStr for Head {
    type Err = NotUnderstood;

    fn from_str(line: &str) -> Result<Self, NotUnderstood> {
        if let Some(reason) = line.strip_prefix("failed ") {
            return Ok(Self::Failed(reason.to_owned()));
        }
        let words: Vec<&str> = line.split(' ').collect();
        let (is_unfinished, rest) = match words.as_slice() {
            ["missing"] => return Ok(Self::Missing),
            ["whole", rest @ ..] => (false, rest),
            ["unfinished", rest @ ..] => (true, rest),
            _ => return Err(NotUnderstood),
        };
        let [format, bytes, crc32c] = rest else { return Err(NotUnderstood) };
        let named = |name: &str| Format::ALL.into_iter().find(|format| format.name() == name).ok_or(NotUnderstood);
        let format = if *format == NOTHING { None } else { Some(named(format)?) };
        let content = match (*bytes, *crc32c) {
            (NOTHING, NOTHING) => None,
            (bytes, crc32c) => Some(Content {
                bytes: bytes.parse().map_err(|_| NotUnderstood)?,
                crc32c: u32::from_str_radix(crc32c, 16).map_err(|_| NotUnderstood)?,
            }),
        };
        Ok(Self::Found { is_unfinished, format, content })
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(length) => write!(f, "bytes {length}"),
            Self::End => f.write_str("end"),
            Self::Failed(reason) => write!(f, "failed {}", on_a_line(reason)),
        }
    }
}

impl FromStr for Piece {
    type Err = NotUnderstood;

    fn from_str(line: &str) -> Result<Self, NotUnderstood> {
        match line.split_once(' ') {
            Some(("bytes", length)) => match length.parse() {
                Ok(length @ 1..=LONGEST_PIECE) => Ok(Self::Bytes(length)),
                _ => Err(NotUnderstood),
            },
            Some(("failed", reason)) => Ok(Self::Failed(reason.to_owned())),
            None if line == "end" => Ok(Self::End),
            _ => Err(NotUnderstood),
        }
    }
}

#[cfg(test)]
mod tests;
