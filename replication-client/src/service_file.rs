//! libpq's connection service file (`pg_service.conf`): option values under a name.
//!
//! Mirrors `parseServiceInfo` and `parseServiceFile` of PostgreSQL's `fe-connect.c`.

use std::io;
use std::path::{Path, PathBuf};

use crate::bounded_file;
use crate::conninfo;
use crate::environment::Environment;

/// More than any service file holds.
const LONGEST: u64 = 4 << 20;
/// Where Debian's packages and those of the PostgreSQL project look for the file of the whole system.
const SYSTEM_DIRECTORY: &str = "/etc/postgresql-common";

/// Why a connection service has no definition that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceFileProblem {
    /// No file defines it.
    #[error("no service file defines service {service:?}")]
    NotDefined {
        /// Its name, or `***` where it may hold a piece of a password.
        service: String,
    },
    /// A service file is there and cannot be read, or one that is named is not there. Of this as of the other problems, the
    /// path is `***` where it may hold a piece of a password.
    #[error("service file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        reason: io::ErrorKind,
    },
    /// A line of the service is no assignment of an option that libpq knows.
    #[error("service file {}, line {line}: expected an option of a connection string and its value", path.display())]
    Syntax {
        /// Where the file is.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A line of the service says that an LDAP server has the options, which is not built.
    #[error("service file {}, line {line}: options from LDAP are not supported", path.display())]
    Ldap {
        /// Where the file is.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A service refers to another one.
    #[error("service file {}, line {line}: {option} cannot be set in a service file", path.display())]
    Nested {
        /// Where the file is.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// `service` or `servicefile`.
        option: &'static str,
    },
}

/// What is wrong with a line.
#[derive(Debug, PartialEq)]
pub(crate) enum LineProblem {
    Syntax,
    Ldap,
    Nested(&'static str),
}

pub(crate) type Assignments = Vec<(&'static str, String)>;

/// Returns what the first file that defines `service` says: `file`, which has to be there, or, where none is named, that of
/// the home directory; then that of the system.
pub(crate) fn lookup(
    service: &str,
    file: Option<&str>,
    environment: &Environment,
) -> Result<Assignments, ServiceFileProblem> {
    let of_user = file.map(PathBuf::from).or_else(|| Some(environment.home()?.join(".pg_service.conf")));
    let of_system = Path::new(environment.variable("PGSYSCONFDIR").unwrap_or(SYSTEM_DIRECTORY)).join("pg_service.conf");
    for (path, is_named) in of_user.into_iter().map(|path| (path, file.is_some())).chain([(of_system, false)]) {
        if let Some(found) = read(&path, is_named)?.and_then(|text| find(&text, service)) {
            return found.map_err(|(line, problem)| located(shown(&path), line, problem));
        }
    }
    Err(ServiceFileProblem::NotDefined { service: conninfo::shown(service).to_owned() })
}

/// Reads a service file; a missing one is none, unless it is named.
fn read(path: &Path, is_named: bool) -> Result<Option<String>, ServiceFileProblem> {
    let text = bounded_file::read(path, LONGEST)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into()));
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_missing(&error) && !is_named => Ok(None),
        Err(error) => Err(ServiceFileProblem::Unreadable { path: shown(path), reason: error.kind() }),
    }
}

/// Returns a path for messages: it comes from a connection string.
fn shown(path: &Path) -> PathBuf {
    conninfo::shown(&path.to_string_lossy()).into()
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn located(path: PathBuf, line: usize, problem: LineProblem) -> ServiceFileProblem {
    match problem {
        LineProblem::Syntax => ServiceFileProblem::Syntax { path, line },
        LineProblem::Ldap => ServiceFileProblem::Ldap { path, line },
        LineProblem::Nested(option) => ServiceFileProblem::Nested { path, line, option },
    }
}

/// Returns the assignments of the first section called `service`, or `None` where there is none.
pub(crate) fn find(text: &str, service: &str) -> Option<Result<Assignments, (usize, LineProblem)>> {
    // The number of each line, from 1, without comments and empty lines.
    let lines = text.lines().map(str::trim).enumerate().map(|(index, line)| (index + 1, line));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.find(|(_, line)| is_header_of(line, service))?;
    let section = lines.take_while(|(_, line)| !line.starts_with('['));
    Some(section.map(|(number, line)| assignment(line).map_err(|problem| (number, problem))).collect())
}

/// As for libpq, nothing behind the bracket counts.
fn is_header_of(line: &str, service: &str) -> bool {
    let name = line.strip_prefix('[').and_then(|line| line.strip_prefix(service));
    name.is_some_and(|rest| rest.starts_with(']'))
}

/// Reads `option=value`, without blanks around the equals sign and without quotes.
fn assignment(line: &str) -> Result<(&'static str, String), LineProblem> {
    // libpq asks the server that is named, if it was built to.
    if line.starts_with("ldap") {
        return Err(LineProblem::Ldap);
    }
    let (keyword, value) = line.split_once('=').ok_or(LineProblem::Syntax)?;
    match conninfo::keyword(keyword).ok_or(LineProblem::Syntax)? {
        nested @ ("service" | "servicefile") => Err(LineProblem::Nested(nested)),
        keyword => Ok((keyword, value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# comment\n\n[main]\nhost=db1\n  port=5433  \npassword= two words \nhost=db2\n[mai]\nuser=other\n\
                        [main]\nuser=second\n";

    #[test]
    fn the_first_section_of_that_name_counts_up_to_the_next() {
        let expected = [("host", "db1"), ("port", "5433"), ("password", " two words"), ("host", "db2")]
            .map(|(k, v)| (k, v.to_owned()));
        assert_eq!(find(TEXT, "main"), Some(Ok(expected.to_vec())));
        assert_eq!(find(TEXT, "mai"), Some(Ok(vec![("user", "other".to_owned())])));
        assert_eq!(find(TEXT, "ma"), None);
        assert_eq!(find("[main] anything\n", "main"), Some(Ok(Vec::new())));
    }

    #[test]
    fn a_line_that_is_no_assignment_has_a_number() {
        assert_eq!(find("[a]\nhost\n", "a"), Some(Err((2, LineProblem::Syntax))));
        assert_eq!(find("[a]\n\n# x\nhots=db1\n", "a"), Some(Err((4, LineProblem::Syntax))));
        assert_eq!(find("[a]\nhost =db1\n", "a"), Some(Err((2, LineProblem::Syntax))));
        assert_eq!(find("[a]\nldap://h/dc=x?cn\n", "a"), Some(Err((2, LineProblem::Ldap))));
        assert_eq!(find("[a]\nservice=b\n", "a"), Some(Err((2, LineProblem::Nested("service")))));
        assert_eq!(find("hots=db1\n[a]\nhost=db1\n[b]\nhots=x\n", "a").map(|found| found.is_ok()), Some(true));
    }
}
