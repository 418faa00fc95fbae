//! [`Environment`]: what libpq takes from the process around it, as a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The environment variables, home directory and operating-system user that fill what a connection string leaves open.
///
/// The library does not look at the process it runs in: a program builds this value once, at its edge, and a test builds
/// whatever it needs. One exception is that `sslrootcert=system` reads the operating system's certificates where
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` say, as OpenSSL does.
///
/// ```
/// use replication_client::{Config, Environment};
///
/// let environment = Environment::default().with_variable("PGPORT", "5433").with_user("barman");
/// let config = Config::from_conninfo("host=db1", &environment)?;
/// assert_eq!((config.hosts()[0].port(), config.user()), (5433, "barman"));
/// # Ok::<(), replication_client::ConninfoError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    user: Option<String>,
}

impl Environment {
    /// Keeps those of `variables` that libpq reads: the ones whose names begin with `PG`. What is not UTF-8 is passed over.
    ///
    /// A program passes `std::env::vars_os()`.
    #[must_use]
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let variables = variables.into_iter().filter_map(text).filter(|(name, _)| name.starts_with("PG")).collect();
        Self { variables, ..Self::default() }
    }

    /// Sets one variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the home directory, in which `.pgpass`, `.pg_service.conf` and `.postgresql/` are looked for.
    #[must_use]
    pub fn with_home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Sets the name of the operating-system user, which is the default of `user`.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// Shows which variables are set but no values: `PGPASSWORD` is one of them.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys())
            .field("home", &self.home)
            .field("user", &self.user)
            .finish()
    }
}
