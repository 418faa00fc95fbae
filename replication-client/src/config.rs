//! [`Config`]: how to reach and enter a server.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::conninfo::{self, ConninfoError, ConninfoOption, OPTIONS, Settings};
use crate::environment::Environment;
use crate::error::UnsupportedOption;
use crate::password::Password;

/// The directory of the server's Unix sockets that Debian and the PostgreSQL project's packages build libpq with.
pub(crate) const DEFAULT_SOCKET_DIRECTORY: &str = "/var/run/postgresql";
const DEFAULT_PORT: u16 = 5432;

/// How to reach and enter a server: a connection string of libpq's, completed from the environment and by defaults.
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
#[derive(Clone, Debug)]
pub struct Config {
    host: Option<String>,
    hostaddr: Option<IpAddr>,
    port: u16,
    user: String,
    database: String,
    password: Option<Password>,
    passfile: Option<PathBuf>,
    application_name: Option<String>,
    session: Vec<(&'static str, String)>,
    connect_timeout: Option<Duration>,
    keepalives: Keepalives,
    replication: Option<String>,
    unsupported: Vec<UnsupportedOption>,
}

/// How the operating system watches over a TCP connection. `None` is the system's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalives {
    pub(crate) enabled: bool,
    pub(crate) idle: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) count: Option<u32>,
    /// How long sent data may stay unacknowledged.
    pub(crate) user_timeout: Option<Duration>,
}

impl Config {
    /// Reads a connection string, `key=value` pairs or a URI, as libpq does.
    ///
    /// Where the string leaves an option out, its environment variable counts, then its default. An option that the
    /// string sets to nothing has its default, whatever the environment says. The password file is looked at when a
    /// connection is made.
    ///
    /// # Errors
    /// The syntax is wrong, an option is unknown, or a value is not one that its option can have. An option or value
    /// that is right but not built is no error here: it is in [`unsupported`](Self::unsupported), and
    /// [`Client::connect`](crate::Client::connect) refuses it.
    pub fn from_conninfo(conninfo: &str, environment: &Environment) -> Result<Self, ConninfoError> {
        let mut settings = conninfo::parse(conninfo)?;
        add_defaults(&mut settings, environment);
        OPTIONS
            .iter()
            .try_for_each(|option| settings.get(option.keyword).map_or(Ok(()), |value| option.check(value)))?;
        Self::from_settings(&settings, environment)
    }

    fn from_settings(settings: &Settings, environment: &Environment) -> Result<Self, ConninfoError> {
        let given = |keyword| given(settings, keyword);
        let unsupported = unsupported(settings);
        let user = given("user").or(environment.user()).ok_or(ConninfoError::NoUser)?;
        let is_list = |keyword| unsupported.iter().any(|unsupported| unsupported.option == keyword);
        Ok(Self {
            host: given("host").map(str::to_owned),
            hostaddr: if is_list("hostaddr") { None } else { parsed(settings, "hostaddr", "an IP address")? },
            port: if is_list("port") { None } else { port(settings)? }.unwrap_or(DEFAULT_PORT),
            user: user.to_owned(),
            database: given("dbname").unwrap_or(user).to_owned(),
            password: given("password").map(Password::new),
            passfile: given("passfile").map(PathBuf::from).or_else(|| Some(environment.home()?.join(".pgpass"))),
            application_name: given("application_name").or(given("fallback_application_name")).map(str::to_owned),
            session: session_settings(settings, environment),
            connect_timeout: whole_number(settings, "connect_timeout")?.and_then(seconds),
            keepalives: Keepalives::from_settings(settings)?,
            replication: given("replication").map(str::to_owned),
            unsupported,
        })
    }

    /// Returns the host name, address or socket directory, or `None` for the default socket directory.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
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

    pub(crate) fn hostaddr(&self) -> Option<IpAddr> {
        self.hostaddr
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

impl Keepalives {
    fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
        let positive =
            |keyword| Ok(whole_number(settings, keyword)?.and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0));
        let milliseconds = |n: u32| Duration::from_millis(n.into());
        let seconds = |n: u32| Duration::from_secs(n.into());
        Ok(Self {
            enabled: whole_number(settings, "keepalives")? != Some(0),
            idle: positive("keepalives_idle")?.map(seconds),
            interval: positive("keepalives_interval")?.map(seconds),
            count: positive("keepalives_count")?,
            user_timeout: positive("tcp_user_timeout")?.map(milliseconds),
        })
    }
}

/// Fills what the connection string leaves out, as `conninfo_add_defaults` does.
fn add_defaults(settings: &mut Settings, environment: &Environment) {
    for option in OPTIONS {
        let value = option.variable.and_then(|variable| environment.variable(variable));
        if let (false, Some(value)) = (settings.contains_key(option.keyword), value) {
            settings.insert(option.keyword, value.to_owned());
        }
    }
    let old_variable = environment.variable("PGREQUIRESSL").filter(|value| value.starts_with('1'));
    if let Some(value) = old_variable {
        settings.entry("sslmode").or_insert_with(|| conninfo::requiressl(value).to_owned());
    }
}

/// The value of an option, unless it is empty, which libpq takes for not given.
fn given<'a>(settings: &'a Settings, keyword: &str) -> Option<&'a str> {
    settings.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
}

/// Lists what is not built. Several hosts are among it: each of these options may hold a comma-separated list.
fn unsupported(settings: &Settings) -> Vec<UnsupportedOption> {
    let refused = |option: &&ConninfoOption| {
        let is_list = |value: &str| ["host", "hostaddr", "port"].contains(&option.keyword) && value.contains(',');
        given(settings, option.keyword).is_some_and(|value| option.is_unsupported(value) || is_list(value))
    };
    let name = |option: &'static ConninfoOption| UnsupportedOption {
        option: option.keyword,
        value: option.shown(given(settings, option.keyword).unwrap_or_default()).to_owned(),
    };
    OPTIONS.iter().filter(refused).map(name).collect()
}

/// Start-up parameters that libpq takes from an option or, as `EnvironmentOptions` lists, from a variable alone.
fn session_settings(settings: &Settings, environment: &Environment) -> Vec<(&'static str, String)> {
    const VARIABLES: [(&str, &str); 3] = [("PGDATESTYLE", "datestyle"), ("PGTZ", "timezone"), ("PGGEQO", "geqo")];
    let options = given(settings, "options").map(|value| ("options", value.to_owned()));
    let variables = VARIABLES.iter().filter_map(|&(variable, parameter)| {
        let value = environment.variable(variable).filter(|value| !value.eq_ignore_ascii_case("default"))?;
        Some((parameter, value.to_owned()))
    });
    options.into_iter().chain(variables).collect()
}

fn port(settings: &Settings) -> Result<Option<u16>, ConninfoError> {
    let port = whole_number(settings, "port")?;
    let valid = port.map(|port| u16::try_from(port).ok().filter(|&port| port > 0));
    match valid {
        Some(None) => Err(ConninfoError::InvalidValue { option: "port", expected: "a number from 1 to 65535" }),
        valid => Ok(valid.flatten()),
    }
}

/// Reads a number, with blanks around it, as `parse_int_param` does.
fn whole_number(settings: &Settings, keyword: &'static str) -> Result<Option<i32>, ConninfoError> {
    let Some(value) = given(settings, keyword) else { return Ok(None) };
    value
        .trim()
        .parse()
        .map(Some)
        .map_err(|_| ConninfoError::InvalidValue { option: keyword, expected: "a whole number" })
}

fn parsed<T: FromStr>(
    settings: &Settings,
    keyword: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ConninfoError> {
    let Some(value) = given(settings, keyword) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| ConninfoError::InvalidValue { option: keyword, expected })
}

/// As for libpq, zero and negative numbers wait without limit.
fn seconds(number: i32) -> Option<Duration> {
    u64::try_from(number).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
