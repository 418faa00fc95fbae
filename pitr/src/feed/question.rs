//! What a call and the helper say to each other: a line each.

use std::fmt;
use std::str::FromStr;

use barman_catalog::Partial;
use wal_format::WalFileName;

/// Longer lines than this are nobody's, in bytes.
pub(super) const LONGEST_LINE: u64 = 4096;

/// What the server asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: WalFileName,
    pub(super) partial: Partial,
}

/// What the helper says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The file lies in the helper's directory under this name. It is the caller's to take until it hangs up.
    Ready(String),
    /// The archive was asked, and does not have it.
    Missing,
    /// It cannot be had, in words.
    Failed(String),
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.partial {
            Partial::Include => "partial",
            Partial::Exclude => "whole",
        };
        write!(f, "{kind} {}", self.name)
    }
}

impl FromStr for Question {
    type Err = NotUnderstood;

    fn from_str(line: &str) -> Result<Self, NotUnderstood> {
        let (kind, name) = line.split_once(' ').ok_or(NotUnderstood)?;
        let partial = match kind {
            "partial" => Partial::Include,
            "whole" => Partial::Exclude,
            _ => return Err(NotUnderstood),
        };
        Ok(Self { name: name.parse().map_err(|_| NotUnderstood)?, partial })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(name) => write!(f, "ready {name}"),
            Self::Missing => f.write_str("missing"),
            Self::Failed(reason) => write!(f, "failed {}", on_a_line(reason)),
        }
    }
}

impl FromStr for Answer {
    type Err = NotUnderstood;

    fn from_str(line: &str) -> Result<Self, NotUnderstood> {
        match line.split_once(' ') {
            Some(("ready", name)) => Ok(Self::Ready(name.to_owned())),
            Some(("failed", reason)) => Ok(Self::Failed(reason.to_owned())),
            None if line == "missing" => Ok(Self::Missing),
            _ => Err(NotUnderstood),
        }
    }
}

/// A reason as a part of a line that is not too long.
pub(super) fn on_a_line(reason: &str) -> String {
    const LONGEST: usize = 1000;
    reason.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Another version of this program speaks there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was said cannot be understood")]
pub(super) struct NotUnderstood;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for name in ["00000001000000000000000A", "00000002.history"] {
            for partial in [Partial::Include, Partial::Exclude] {
                let question = Question { name: name.parse().unwrap(), partial };
                assert_eq!(question.to_string().parse(), Ok(question));
            }
        }
        for answer in [Answer::Ready("a b".to_owned()), Answer::Missing, Answer::Failed("no way".to_owned())] {
            assert_eq!(answer.to_string().parse(), Ok(answer));
        }
        assert_eq!(Answer::Failed("two\nlines".to_owned()).to_string(), "failed two lines");
    }

    #[test]
    fn what_is_not_is_refused() {
        for line in ["", "whole", "whole ", "half 00000002.history", "whole 00000002.history "] {
            assert_eq!(line.parse::<Question>(), Err(NotUnderstood), "{line}");
        }
        for line in ["", "ready", "missing it", "what"] {
            assert_eq!(line.parse::<Answer>(), Err(NotUnderstood), "{line}");
        }
    }
}
