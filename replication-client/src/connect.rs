//! From a [`Config`] to a session that is ready for its first command.

use std::sync::Arc;

use tokio::time::timeout;

use crate::activity::Activity;
use crate::client::Mode;
use crate::config::Config;
use crate::connection::{Connection, Reopen};
use crate::endpoint::{self, Endpoint};
use crate::error::{Error, ErrorKind, UnsupportedOption};
use crate::passfile::{self, Account, PassfileProblem};
use crate::password::Password;
use crate::startup::{Credentials, Progress, Startup};

/// The database that a physical replication connection names. The server ignores it; password files refer to it.
const REPLICATION: &str = "replication";

/// Connects, trying one address of the host after the other until one answers.
pub(crate) async fn connect(config: &Config, mode: Mode) -> Result<Connection, Error> {
    let error = |kind| Error::new(Activity::Connect, endpoint::describe(config), kind);
    refuse_unsupported(config, mode).map_err(|unsupported| error(unsupported.into()))?;
    let endpoints = within(config, async { Endpoint::resolve(config).await.map_err(ErrorKind::Resolve) });
    let mut last = error(ErrorKind::Resolve(std::io::ErrorKind::NotFound.into()));
    for endpoint in endpoints.await.map_err(error)? {
        match within(config, attempt(config, mode, &endpoint)).await {
            Ok(connection) => return Ok(connection),
            Err(kind) => {
                // A server that answers and refuses is the one that was meant.
                let is_reached = !matches!(kind, ErrorKind::Connect(_) | ErrorKind::ConnectTimeout { .. });
                last = Error::new(Activity::Connect, endpoint.describe(), kind);
                if is_reached {
                    return Err(last);
                }
            }
        }
    }
    Err(last)
}

/// Names the first option that asks for what is not built.
///
/// `replication` is decided by the mode, as pg_receivewal and Barman decide it whatever the connection string says.
/// An SQL connection with it would be a walsender's, so there it is refused.
fn refuse_unsupported(config: &Config, mode: Mode) -> Result<(), UnsupportedOption> {
    if let Some(unsupported) = config.unsupported().first() {
        return Err(unsupported.clone());
    }
    match config.replication_requested().filter(|_| mode == Mode::Sql) {
        Some(value) => Err(UnsupportedOption { option: "replication", value: value.to_owned() }),
        None => Ok(()),
    }
}

/// Runs one step of connecting under `connect_timeout`, which counts for each address anew.
async fn within<T>(config: &Config, step: impl Future<Output = Result<T, ErrorKind>>) -> Result<T, ErrorKind> {
    match config.connect_timeout() {
        None => step.await,
        Some(limit) => timeout(limit, step).await.unwrap_or(Err(ErrorKind::ConnectTimeout { timeout: limit })),
    }
}

async fn attempt(config: &Config, mode: Mode, endpoint: &Endpoint) -> Result<Connection, ErrorKind> {
    let transport = endpoint.open(config.keepalives()).await.map_err(ErrorKind::Connect)?;
    let mut connection = Connection::new(transport, endpoint.describe()).reopened_by(reopen(config, endpoint));
    let credentials = credentials(config, mode).await;
    let mut startup = Startup::begin(credentials, parameters(config, mode), &mut connection.wire().outgoing)?;
    loop {
        let message = connection.receive().await?;
        let wire = connection.wire();
        match startup.handle(message, &mut wire.outgoing)? {
            Progress::Authenticating => {}
            Progress::Authenticated => wire.inbox.trust(),
            Progress::Ready => return Ok(connection),
        }
    }
}

/// Says how a second transport to the same address is opened.
fn reopen(config: &Config, endpoint: &Endpoint) -> Reopen {
    let (config, endpoint) = (config.clone(), endpoint.clone());
    Arc::new(move || {
        let (config, endpoint) = (config.clone(), endpoint.clone());
        Box::pin(async move {
            let opened = async { endpoint.open(config.keepalives()).await.map_err(ErrorKind::Connect) };
            within(&config, opened).await
        })
    })
}

/// Returns the start-up parameters. All text is Unicode on our side, so the session's encoding is UTF8.
fn parameters(config: &Config, mode: Mode) -> Vec<(&str, &str)> {
    let mut parameters =
        vec![("user", config.user()), ("database", database(config, mode)), ("client_encoding", "UTF8")];
    if mode == Mode::PhysicalReplication {
        parameters.push(("replication", "true"));
    }
    parameters.extend(config.application_name().map(|name| ("application_name", name)));
    parameters.extend(config.session().iter().map(|(name, value)| (*name, value.as_str())));
    parameters
}

fn database(config: &Config, mode: Mode) -> &str {
    match mode {
        Mode::Sql => config.database(),
        Mode::PhysicalReplication => REPLICATION,
    }
}

/// Returns the configured password or, where there is none, that of the password file.
///
/// The file is read for every connection, so that a password changed in it counts from the next one on.
async fn credentials(config: &Config, mode: Mode) -> Credentials {
    let user = config.user().to_owned();
    if let Some(password) = config.password() {
        return Credentials { user, password: Some(password.clone()), problem: None };
    }
    match password_from_file(config.clone(), mode).await {
        Ok(password) => Credentials { user, password, problem: None },
        Err(problem) => Credentials { user, password: None, problem: Some(problem) },
    }
}

async fn password_from_file(config: Config, mode: Mode) -> Result<Option<Password>, PassfileProblem> {
    let lookup = move || {
        let Some(path) = config.passfile() else { return Ok(None) };
        let hostaddr = config.hostaddr().map(|address| address.to_string());
        let host = endpoint::passfile_host(&config, hostaddr.as_deref());
        let (port, database, user) = (config.port(), database(&config, mode), config.user());
        passfile::lookup(path, &Account { host: &host, port, database, user })
    };
    // Home directories may be on a slow network. The task is not aborted, so it always has a result.
    tokio::task::spawn_blocking(lookup).await.unwrap_or(Ok(None))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::environment::Environment;

    fn config(conninfo: &str) -> Config {
        Config::from_conninfo(conninfo, &Environment::default().with_user("barman")).unwrap()
    }

    #[test]
    fn a_physical_replication_connection_has_no_database_but_a_name_for_password_files() {
        let config = config("dbname=postgres application_name=x options='-c geqo=off'");
        let expected = [
            ("user", "barman"),
            ("database", "replication"),
            ("client_encoding", "UTF8"),
            ("replication", "true"),
            ("application_name", "x"),
            ("options", "-c geqo=off"),
        ];
        assert_eq!(parameters(&config, Mode::PhysicalReplication), expected);
        assert_eq!(parameters(&config, Mode::Sql).get(1), Some(&("database", "postgres")));
    }

    #[test]
    fn the_mode_decides_about_replication() {
        let config = config("replication=database");
        assert!(refuse_unsupported(&config, Mode::PhysicalReplication).is_ok());
        let refused = refuse_unsupported(&config, Mode::Sql).unwrap_err();
        assert_eq!(refused.to_string(), "replication=database is not supported");
    }

    #[tokio::test]
    async fn what_is_not_built_is_refused_before_anything_is_sent() {
        let error = connect(&config("host=192.0.2.1 sslmode=require"), Mode::Sql).await.err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Unsupported(option) if option.option == "sslmode"));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up_after_the_timeout() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = config(&format!("host=127.0.0.1 port={port} connect_timeout=1"));
        let error = connect(&config, Mode::Sql).await.err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::ConnectTimeout { timeout } if *timeout == Duration::from_secs(1)));
        assert!(error.is_transient());
    }
}
