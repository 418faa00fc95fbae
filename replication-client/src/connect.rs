//! From a [`Config`] to a session that is ready for its first command.

use std::hash::{BuildHasher, RandomState};

use tokio::time::timeout;

use crate::activity::Activity;
use crate::client::{Client, Mode};
use crate::config::{Config, Host, TargetSession};
use crate::endpoint::Endpoint;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, UnsupportedOption};
use crate::server_error::SqlState;
use crate::target_session;

/// Connects, trying one host, and one address of it, after the other until one is what is wanted.
pub(crate) async fn connect(config: &Config, mode: Mode) -> Result<Client, Error> {
    let hosts = in_order(config, config.hosts());
    refuse_unsupported(config, mode).map_err(|unsupported| {
        let first = hosts.first().map(ToString::to_string).unwrap_or_default();
        Error::new(Activity::Connect, first.into(), unsupported.into())
    })?;
    let mut failures = Vec::new();
    for target in config.target_session().passes() {
        for host in &hosts {
            match connect_to_host(config, mode, host, *target).await {
                Ok(client) => return Ok(client),
                Err(mut of_host) => {
                    failures.append(&mut of_host.failures);
                    if of_host.is_final {
                        return Err(Error::of_attempts(failures));
                    }
                }
            }
        }
    }
    Err(Error::of_attempts(failures))
}

/// Why no address of a host is what is wanted.
struct HostFailure {
    failures: Vec<Error>,
    /// Whether other hosts are not to be tried.
    is_final: bool,
}

async fn connect_to_host(
    config: &Config,
    mode: Mode,
    host: &Host,
    target: TargetSession,
) -> Result<Client, HostFailure> {
    let error = |kind| Error::new(Activity::Connect, host.to_string().into(), kind);
    let resolved = within(config, async { Endpoint::resolve(host).await.map_err(ErrorKind::Resolve) }).await;
    let endpoints = match resolved {
        Ok(endpoints) => endpoints,
        Err(kind) => return Err(HostFailure { failures: vec![error(kind)], is_final: false }),
    };
    let mut failures = Vec::new();
    for endpoint in in_order(config, &endpoints) {
        let entry = Entry { config, mode, host, endpoint: &endpoint };
        match within(config, enter(entry, target)).await {
            Ok(client) => return Ok(client),
            Err(kind) => {
                let is_final = !leads_to_the_next(&kind);
                failures.push(Error::new(Activity::Connect, endpoint.describe(host), kind));
                if is_final {
                    return Err(HostFailure { failures, is_final });
                }
            }
        }
    }
    if failures.is_empty() {
        failures.push(error(ErrorKind::Resolve(std::io::ErrorKind::NotFound.into())));
    }
    Err(HostFailure { failures, is_final: false })
}

/// Returns whether another address may be better. A server that answers and refuses is the one that was meant, unless it
/// is starting or stopping.
fn leads_to_the_next(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::Connect(_) | ErrorKind::ConnectTimeout { .. } | ErrorKind::TargetSession { .. } => true,
        kind => kind.sqlstate() == Some(SqlState::CANNOT_CONNECT_NOW),
    }
}

/// Returns `items` as they are or, with `load_balance_hosts=random`, in random order.
fn in_order<T: Clone>(config: &Config, items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    if config.load_balancing() {
        // A new one has keys that nobody can foresee.
        let random = RandomState::new();
        let mut numbered: Vec<(usize, T)> = items.drain(..).enumerate().collect();
        numbered.sort_by_key(|(number, _)| random.hash_one(number));
        items.extend(numbered.into_iter().map(|(_, item)| item));
    }
    items
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
pub(crate) async fn within<T>(
    config: &Config,
    step: impl Future<Output = Result<T, ErrorKind>>,
) -> Result<T, ErrorKind> {
    match config.connect_timeout() {
        None => step.await,
        Some(limit) => timeout(limit, step).await.unwrap_or(Err(ErrorKind::ConnectTimeout { timeout: limit })),
    }
}

async fn enter(entry: Entry<'_>, target: TargetSession) -> Result<Client, ErrorKind> {
    let mut client = Client::ready(entry.enter().await?, entry.mode, None);
    target_session::check(&mut client, entry.mode, target).await?;
    Ok(client)
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
    fn the_mode_decides_about_replication() {
        let config = config("replication=database");
        assert!(refuse_unsupported(&config, Mode::PhysicalReplication).is_ok());
        let refused = refuse_unsupported(&config, Mode::Sql).unwrap_err();
        assert_eq!(refused.to_string(), "replication=database is not supported");
    }

    #[tokio::test]
    async fn what_is_not_built_is_refused_before_anything_is_sent() {
        let error = connect(&config("host=192.0.2.1 gssencmode=require"), Mode::Sql).await.err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Unsupported(option) if option.option == "gssencmode"));
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
