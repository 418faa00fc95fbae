//! What makes a configuration unusable as a whole.

use std::io;
use std::path::{Path, PathBuf};

/// A line that is not INI as Python's `configparser` reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: expected {expected}, found \"{found}\"", path.display())]
pub struct SyntaxError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What would have been right in this place.
    pub expected: &'static str,
    /// The beginning of the line, without anything that follows a separator: values may hold passwords.
    pub found: String,
}

impl SyntaxError {
    /// Characters of a malformed line that an error repeats.
    const SHOWN: usize = 40;

    pub(crate) fn new(path: &Path, line: usize, text: &str, expected: &'static str) -> Self {
        let end = text.find(['=', ':']).map_or(text.len(), |separator| separator + 1);
        let found = text.get(..end).unwrap_or_default().trim().chars().take(Self::SHOWN).collect();
        Self { path: path.to_owned(), line, expected, found }
    }
}

/// A `%` in a value that cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterpolationError {
    /// Neither `%%` nor `%(option)s`. The text is not shown: percent signs are common in passwords.
    #[error("expected %% or %(option)s, found % before something else")]
    Syntax,
    /// `%(option)s` of an option that the section does not have.
    #[error("expected an option of the same section, found %({name})s")]
    UnknownOption {
        /// The option.
        name: String,
    },
    /// References that lead to references, more than ten deep.
    #[error("expected at most ten levels of %(option)s, found more")]
    TooDeep,
    /// References that multiply the value beyond 1 MiB.
    #[error("expected at most 1 MiB after replacing %(option)s, found more")]
    TooLong,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file named by `-c` or `BARMAN_CONFIG_FILE` is not there.
    #[error("configuration file '{}' does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// No file was named, and none of the default places has one.
    #[error("expected a configuration file at a default location, found none of {}", shown(places))]
    NotFound {
        /// The places, in the order of the search.
        places: Vec<PathBuf>,
    },
    /// A configuration file cannot be read.
    #[error("cannot read configuration file '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A configuration file is not UTF-8.
    #[error("{}, line {line}: expected UTF-8 text, found another encoding", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
    /// A line that is not INI.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A `%` that cannot be resolved.
    #[error("{}, line {line}: cannot resolve '{option}' of section [{section}]", path.display())]
    Interpolation {
        /// The file.
        path: PathBuf,
        /// The line of the option, from 1.
        line: usize,
        /// The section.
        section: String,
        /// The option.
        option: String,
        /// What is wrong with the value.
        #[source]
        source: InterpolationError,
    },
    /// An included file sets global options.
    #[error("{}, line {line}: expected no new option in section [barman] of an included file, found '{option}'", path.display())]
    IncludedGlobal {
        /// The file.
        path: PathBuf,
        /// The line of the option, from 1.
        line: usize,
        /// The option.
        option: String,
    },
    /// There is no `[barman]` section, or it lacks a required option.
    #[error("{}: expected '{option}' in section [barman], found none", path.display())]
    RequiredGlobal {
        /// The main configuration file.
        path: PathBuf,
        /// The option.
        option: &'static str,
    },
    /// A model lacks a required option.
    #[error("expected '{option}' in model [{section}], found none")]
    RequiredInModel {
        /// The section.
        section: String,
        /// The option.
        option: &'static str,
    },
    /// A policy in the option file for retention that cannot be understood.
    #[error("{}, line {line}: the policy cannot be understood", path.display())]
    RetentionRules {
        /// The file.
        path: PathBuf,
        /// The line of the option, from 1.
        line: usize,
        /// Where it goes wrong, and what would be one.
        #[source]
        source: barman_retention::ParsePolicyError,
    },
    /// A server is called `all`, which means every server.
    #[error("expected a name for a server, found the reserved word [all]")]
    ReservedName,
    /// A value without which nothing can be done.
    #[error("{}, line {line}: expected {expected} for '{option}' of section [{section}], found '{found}'", path.display())]
    InvalidValue {
        /// The file.
        path: PathBuf,
        /// The line of the option, from 1.
        line: usize,
        /// The section.
        section: String,
        /// The option.
        option: String,
        /// What would have been right.
        expected: &'static str,
        /// The value.
        found: String,
    },
}

fn shown(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}
