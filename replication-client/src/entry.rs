//! [`Entry`]: from an address to a session.

use std::sync::Arc;

use crate::client::Mode;
use crate::config::{Config, Host};
use crate::connect;
use crate::connection::{Connection, Reopen};
use crate::endpoint::Endpoint;
use crate::error::ErrorKind;
use crate::passfile::{self, Account, PassfileProblem};
use crate::password::Password;
use crate::scram::Salting;
use crate::startup::{Credentials, Progress, Startup};
use crate::stream::{self, Encryption, Stream};
use crate::tls::TlsProblem;

/// The database that a physical replication connection names. The server ignores it; password files refer to it.
const REPLICATION: &str = "replication";

/// SCRAM iterations that are computed in a few milliseconds. Servers ask for 4096 unless they are told otherwise.
const SALTING_PIECE: u32 = 20_000;

/// One address of one host, to be entered.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) config: &'a Config,
    pub(crate) mode: Mode,
    pub(crate) host: &'a Host,
    pub(crate) endpoint: &'a Endpoint,
}

/// Why a session did not come about.
struct Failure {
    kind: ErrorKind,
    /// Whether it may come about with TLS instead of without, or the other way round.
    is_for_this_way_only: bool,
}

impl Entry<'_> {
    /// Connects and waits for the first ReadyForQuery, encrypted or not: where `sslmode` leaves the choice, the second way
    /// is tried where the first one is refused.
    pub(crate) async fn enter(self) -> Result<Connection, ErrorKind> {
        let mut refused = None;
        for way in stream::ways(self.config.tls().mode, self.endpoint) {
            match self.enter_by(*way).await {
                Ok(connection) => return Ok(connection),
                Err(failure) if failure.is_for_this_way_only => {
                    refused = Some(more_telling(refused, *way, failure.kind));
                }
                Err(failure) => return Err(failure.kind),
            }
        }
        Err(refused.map_or(ErrorKind::ConnectionClosed, |(_, kind)| kind))
    }

    async fn enter_by(self, way: Encryption) -> Result<Connection, Failure> {
        let Self { config, mode, host, endpoint } = self;
        let stream = Stream::open(config, host, endpoint, way).await.map_err(Failure::to_open)?;
        // A prefer that found no TLS is clear text, and a second connection has to be the same.
        let way = if stream.tls.is_some() { Encryption::Tls } else { Encryption::None };
        let mut connection = Connection::new(stream.transport, endpoint.describe(host)).reopened_by(self.reopen(way));
        let credentials = credentials(config, mode, host).await;
        let policy = config.authentication().clone();
        let outgoing = &mut connection.wire().outgoing;
        let startup = Startup::begin(credentials, policy, stream.tls, parameters(config, mode), outgoing);
        let mut startup = startup.map_err(Failure::of_all_ways)?;
        loop {
            let message = connection.receive().await.map_err(Failure::of_all_ways)?;
            let wire = connection.wire();
            let is_for_this_way_only = startup.is_refused_by(&message);
            match startup.handle(message, &mut wire.outgoing) {
                Ok(Progress::Authenticating) => {}
                Ok(Progress::Salting(salting)) => {
                    let salted = salted(salting).await.map_err(Failure::of_all_ways)?;
                    let answered = startup.handle_salted(salted, &mut connection.wire().outgoing);
                    answered.map_err(Failure::of_all_ways)?;
                }
                Ok(Progress::Authenticated) => wire.inbox.trust(),
                Ok(Progress::Ready) => return Ok(connection),
                Err(kind) => return Err(Failure { kind, is_for_this_way_only }),
            }
        }
    }

    /// Says how a second stream to the same address is opened.
    fn reopen(self, way: Encryption) -> Reopen {
        let (config, host, endpoint) = (self.config.clone(), self.host.clone(), self.endpoint.clone());
        Arc::new(move || {
            let (config, host, endpoint) = (config.clone(), host.clone(), endpoint.clone());
            Box::pin(async move {
                let opened = connect::within(&config, Stream::open(&config, &host, &endpoint, way)).await?;
                Ok(opened.transport)
            })
        })
    }
}

impl Failure {
    fn to_open(kind: ErrorKind) -> Self {
        let is_for_this_way_only = matches!(kind, ErrorKind::Tls(_));
        Self { kind, is_for_this_way_only }
    }

    fn of_all_ways(kind: ErrorKind) -> Self {
        Self { kind, is_for_this_way_only: false }
    }
}

/// Salts the password on a thread for such work. A server may ask for minutes of it: in pieces, so that it ends soon where
/// the session is given up, or `connect_timeout` is over.
async fn salted(mut salting: Box<Salting>) -> Result<Salting, ErrorKind> {
    while salting.left() > 0 {
        let work = move || {
            salting.advance(SALTING_PIECE);
            salting
        };
        // It fails where the runtime is shutting down.
        let done = tokio::task::spawn_blocking(work).await;
        salting = done.map_err(|error| ErrorKind::ConnectionLost(std::io::Error::other(error)))?;
    }
    Ok(*salting)
}

/// Keeps what was said with TLS: there the server knew what it could have known.
fn more_telling(first: Option<(Encryption, ErrorKind)>, way: Encryption, kind: ErrorKind) -> (Encryption, ErrorKind) {
    let says_nothing = matches!(kind, ErrorKind::Tls(TlsProblem::NotOffered { .. }));
    match first {
        Some(first) if first.0 == Encryption::Tls || says_nothing => first,
        _ => (way, kind),
    }
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
async fn credentials(config: &Config, mode: Mode, host: &Host) -> Credentials {
    let user = config.user().to_owned();
    if let Some(password) = config.password() {
        return Credentials { user, password: Some(password.clone()), problem: None };
    }
    match password_from_file(config.clone(), mode, host.clone()).await {
        Ok(password) => Credentials { user, password, problem: None },
        Err(problem) => Credentials { user, password: None, problem: Some(problem) },
    }
}

async fn password_from_file(config: Config, mode: Mode, host: Host) -> Result<Option<Password>, PassfileProblem> {
    let lookup = move || {
        let Some(path) = config.passfile() else { return Ok(None) };
        let (port, database, user) = (host.port(), database(&config, mode), config.user());
        passfile::lookup(path, &Account { host: &host.passfile_name(), port, database, user })
    };
    // Home directories may be on a slow network. The task is not aborted, so it always has a result.
    tokio::task::spawn_blocking(lookup).await.unwrap_or(Ok(None))
}

#[cfg(test)]
mod tests {
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
}
