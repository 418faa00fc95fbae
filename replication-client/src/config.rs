//! [`Config`]: how to reach and enter a server.

mod authentication;
mod hosts;
mod keepalives;
mod target_session;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use self::authentication::{AuthenticationPolicy, ChannelBinding, Method};
pub use self::hosts::Host;
pub(crate) use self::keepalives::Keepalives;
pub(crate) use self::target_session::TargetSession;
pub(crate) use self::tls::{RevocationLists, Roots, SslMode, TlsOptions, Versions};
use crate::conninfo::{self, ConninfoError, ConninfoOption, OPTIONS, Settings};
use crate::environment::Environment;
use crate::error::UnsupportedOption;
use crate::password::Password;

/// How to reach and enter a server: a connection string of libpq's, completed from a service file, from the environment
/// and by defaults.
///
/// Its `Debug` shows no password.
///
/// ```
/// use replication_client::{Config, Environment};
///
/// let environment = Environment::default().with_variable("PGPASSWORD", "secret").with_home("/var/lib/barman");
/// let mut config = Config::from_conninfo("host=db1 user=streaming_barman", &environment)?;
/// config.set_application_name("barman_receive_wal");
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), replication_client::ConninfoError>(())
/// ```
#[derive(Clone)]
pub struct Config {
    hosts: Vec<Host>,
    load_balancing: bool,
    target_session: TargetSession,
    user: String,
    database: String,
    password: Option<Password>,
    passfile: Option<PathBuf>,
    application_name: Option<String>,
    session: Vec<(&'static str, String)>,
    connect_timeout: Option<Duration>,
    keepalives: Keepalives,
    tls: TlsOptions,
    authentication: AuthenticationPolicy,
    required_peer: Option<String>,
    replication: Option<String>,
    unsupported: Vec<UnsupportedOption>,
}

impl Config {
    /// Reads a connection string, `key=value` pairs or a URI, as libpq does.
    ///
    /// Where the string leaves an option out, the service file counts if a service is asked for, then the option's
    /// environment variable, then its default. An option that the string sets to nothing has its default, whatever the
    /// environment says. Only a service file is read here; the password file, certificates and keys are when a
    /// connection is made.
    ///
    /// # Errors
    /// The syntax is wrong, an option is unknown, a value is not one that its option can have, options contradict each
    /// other, or the service is not defined. An option or value that is right but not built is no error here: it is in
    /// [`unsupported`](Self::unsupported), and [`Client::connect`](crate::Client::connect) refuses it.
    pub fn from_conninfo(conninfo: &str, environment: &Environment) -> Result<Self, ConninfoError> {
        let mut settings = conninfo::parse(conninfo)?;
        settings.complete(environment)?;
        settings.check()?;
        Self::from_settings(&settings, environment)
    }

    fn from_settings(settings: &Settings, environment: &Environment) -> Result<Self, ConninfoError> {
        let given = |keyword| settings.given(keyword);
        let owned = |keyword| given(keyword).map(str::to_owned);
        let user = given("user").or(environment.user()).ok_or(ConninfoError::NoUser)?;
        Ok(Self {
            hosts: hosts::hosts(settings)?,
            load_balancing: given("load_balance_hosts") == Some("random"),
            target_session: TargetSession::from_settings(settings),
            user: user.to_owned(),
            database: given("dbname").unwrap_or(user).to_owned(),
            password: given("password").map(Password::new),
            passfile: given("passfile").map(PathBuf::from).or_else(|| Some(environment.home()?.join(".pgpass"))),
            application_name: owned("application_name").or(owned("fallback_application_name")),
            session: session_settings(settings, environment),
            connect_timeout: settings.whole_number("connect_timeout")?.and_then(seconds),
            keepalives: Keepalives::from_settings(settings)?,
            tls: TlsOptions::from_settings(settings, environment)?,
            authentication: AuthenticationPolicy::from_settings(settings)?,
            required_peer: owned("requirepeer"),
            replication: owned("replication"),
            unsupported: unsupported(settings),
        })
    }

    /// Returns the servers, in the order in which they are named: at least one.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns the database user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the database of an SQL connection. A physical replication connection has none.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Sets the database of an SQL connection.
    pub fn set_database(&mut self, database: impl Into<String>) {
        self.database = database.into();
    }

    /// Returns the name under which the server shows the connection.
    #[must_use]
    pub fn application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    /// Sets the name under which the server shows the connection; `synchronous_standby_names` refers to it.
    pub fn set_application_name(&mut self, name: impl Into<String>) {
        self.application_name = Some(name.into());
    }

    /// Sets the password, which then counts before the password file.
    pub fn set_password(&mut self, password: impl Into<String>) {
        self.password = Some(Password::new(password));
    }

    /// Sets how long one address may take until the session is ready; `None` waits for as long as it takes.
    pub fn set_connect_timeout(&mut self, timeout: Option<Duration>) {
        self.connect_timeout = timeout;
    }

    /// Returns the options whose values ask for something that is not built; a connection would be refused.
    #[must_use]
    pub fn unsupported(&self) -> &[UnsupportedOption] {
        &self.unsupported
    }

    /// Whether the servers and their addresses are tried in random order.
    pub(crate) fn load_balancing(&self) -> bool {
        self.load_balancing
    }

    pub(crate) fn target_session(&self) -> TargetSession {
        self.target_session
    }

    pub(crate) fn tls(&self) -> &TlsOptions {
        &self.tls
    }

    pub(crate) fn authentication(&self) -> &AuthenticationPolicy {
        &self.authentication
    }

    /// The operating-system user that a server behind a Unix socket has to run as.
    pub(crate) fn required_peer(&self) -> Option<&str> {
        self.required_peer.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&Password> {
        self.password.as_ref()
    }

    pub(crate) fn passfile(&self) -> Option<&PathBuf> {
        self.passfile.as_ref()
    }

    /// Start-up parameters beyond user, database, replication and application name.
    pub(crate) fn session(&self) -> &[(&'static str, String)] {
        &self.session
    }

    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    pub(crate) fn keepalives(&self) -> Keepalives {
        self.keepalives
    }

    /// The value of `replication` where it asks for a replication connection.
    pub(crate) fn replication_requested(&self) -> Option<&str> {
        let value = self.replication.as_deref()?;
        (!["false", "off", "no", "0"].contains(&value)).then_some(value)
    }
}

/// Shows which server is meant, and as whom. Anything else in a connection string may hold a password from which it was
/// not kept apart.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Config");
        shown.field("hosts", &self.hosts).field("user", &conninfo::shown(&self.user));
        shown.field("database", &conninfo::shown(&self.database)).finish_non_exhaustive()
    }
}

/// Lists what is not built.
fn unsupported(settings: &Settings) -> Vec<UnsupportedOption> {
    let refused =
        |option: &&ConninfoOption| settings.given(option.keyword).is_some_and(|value| option.is_unsupported(value));
    let name = |option: &'static ConninfoOption| UnsupportedOption {
        option: option.keyword,
        value: option.shown(settings.given(option.keyword).unwrap_or_default()).to_owned(),
    };
    OPTIONS.iter().filter(refused).map(name).collect()
}

/// Start-up parameters that libpq takes from an option or, as `EnvironmentOptions` lists, from a variable alone.
fn session_settings(settings: &Settings, environment: &Environment) -> Vec<(&'static str, String)> {
    const VARIABLES: [(&str, &str); 3] = [("PGDATESTYLE", "datestyle"), ("PGTZ", "timezone"), ("PGGEQO", "geqo")];
    let options = settings.given("options").map(|value| ("options", value.to_owned()));
    let variables = VARIABLES.iter().filter_map(|&(variable, parameter)| {
        let value = environment.variable(variable).filter(|value| !value.eq_ignore_ascii_case("default"))?;
        Some((parameter, value.to_owned()))
    });
    options.into_iter().chain(variables).collect()
}

/// As for libpq, zero and negative numbers wait without limit.
fn seconds(number: i32) -> Option<Duration> {
    u64::try_from(number).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod libpq;
#[cfg(test)]
mod tests;
