//! A pg_receivewal: receives WAL through a slot until Ctrl-C, connects again where the connection breaks, follows timelines,
//! and acknowledges nothing that is not on disk. pg_receivewal and Barman can take over the directory at any time.
//!
//! ```text
//! cargo run -p barman-backup --example receive_wal -- "host=/var/run/postgresql user=postgres" /var/tmp/wal slot
//! ```

use std::error::Error;
use std::path::Path;

use barman_backup::{ReceiverEvent, ReceiverOptions, Reconnect, receive};
use barman_storage::{Cancel, Dir};
use replication_client::{Config, Environment};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [conninfo, directory, slot] = &arguments[..] else { return Err("usage: CONNINFO DIRECTORY SLOT".into()) };
    let cancel = Cancel::new();
    let interrupted = cancel.clone();
    tokio::spawn(async move { tokio::signal::ctrl_c().await.map(|()| interrupted.cancel()) });
    receive_until(&cancel, conninfo, Path::new(directory), slot).await
}

pub(crate) async fn receive_until(
    cancel: &Cancel,
    conninfo: &str,
    directory: &Path,
    slot: &str,
) -> Result<(), Box<dyn Error>> {
    let user = std::env::var("USER").unwrap_or_default();
    let config = Config::from_conninfo(conninfo, &Environment::from_variables(std::env::vars_os()).with_user(user))?;
    let mut options = ReceiverOptions::default();
    options.slot = Some(slot.to_owned());
    options.create_slot = true;
    options.reconnect = Some(Reconnect::default());
    let tell = |event: &ReceiverEvent<'_>| eprintln!("{event:?}");
    receive(&config, &Dir::create(directory, 0o700)?, &options, cancel, &tell).await?;
    Ok(())
}
