//! Many servers received by one process: what that takes of the memory.

use std::path::Path;
use std::process::Command;

use barman_catalog::LocalZone;
use barman_config::{Configuration, OsFiles};
use barman_server::{ReceiveWal, Server};
use barman_storage::Cancel;
use replication_client::Environment;
use test_support::{PgbenchLoad, Postgres, pg_tool};
use wal_format::Timestamp;

use crate::ground::ours;
use crate::running::Running;

const SERVERS: usize = 16;
/// Of pgbench, which makes 15 MB of WAL of each. Every receiver receives all of it.
const SCALE: u32 = 5;

/// Prints what is resident before WAL flows, and the most that was while it did.
pub(crate) fn measure() {
    println!("{SERVERS} servers, MiB resident idle and at most");
    let ours = |server: &Postgres, dir: &Path| vec![our_receiver(server, dir)];
    let [idle, most] = resident(ours);
    println!("  received by one process         {idle:.1} and {most:.1}");
    let theirs =
        |server: &Postgres, dir: &Path| (0..SERVERS).map(|number| pg_receivewal(server, dir, number)).collect();
    let [idle, most] = resident(theirs);
    println!("  each by a pg_receivewal, in all  {idle:.1} and {most:.1}");
}

/// Runs receivers of a server, and returns what they took of the memory together, in MiB: idle, and at most.
fn resident(receivers: impl Fn(&Postgres, &Path) -> Vec<Command>) -> [f64; 2] {
    let server = Postgres::builder().setting("max_wal_senders", "20").setting("max_wal_size", "4GB").start();
    let dir = test_support::TempDir::new();
    let running: Vec<Running> = receivers(&server, dir.path()).into_iter().map(Running::start).collect();
    server.wait_until(&format!("select count(*) = {SERVERS} from pg_stat_replication where state = 'streaming'"));
    let in_all = |field: &str| running.iter().map(|receiver| receiver.mib(field)).sum();
    let idle = in_all("VmRSS");
    PgbenchLoad::initialise(&server, SCALE);
    let end = server.psql("select pg_current_wal_lsn()");
    server.wait_until(&format!("select bool_and(write_lsn >= '{end}') from pg_stat_replication"));
    [idle, in_all("VmHWM")]
}

/// As `receive-wal all` does, but for the small processes that stand in for each receiver.
fn our_receiver(server: &Postgres, dir: &Path) -> Command {
    let conninfo = server.conninfo();
    let mut text = format!("[barman]\nbarman_home = {}\n", dir.display());
    for number in 0..SERVERS {
        text += &format!(
            "[s{number}]\nconninfo = {conninfo}\nstreaming_conninfo = {conninfo}\nbackup_method = postgres\n\
             streaming_archiver = on\n"
        );
    }
    let file = dir.join("barman.conf");
    std::fs::write(&file, text).expect("it can be written");
    ours(&["servers-side", file.to_str().expect("the path is text")])
}

fn pg_receivewal(server: &Postgres, dir: &Path, number: usize) -> Command {
    let streaming = dir.join(number.to_string());
    std::fs::create_dir(&streaming).expect("it can be made");
    let mut command = Command::new(pg_tool(15, "pg_receivewal"));
    command.args(["--no-loop", "-d", &server.conninfo(), "-D"]).arg(streaming);
    command
}

/// Receives from all servers of a configuration until the process is killed.
pub(crate) fn receive(configuration: &Path) {
    let configuration = Configuration::load(configuration, &OsFiles).expect("it is well formed");
    std::thread::scope(|scope| {
        for config in configuration.servers.values() {
            let environment = Environment::default();
            let server = Server::assemble(&configuration.global, config, &environment, LocalZone::UTC);
            scope.spawn(move || {
                let clock = || Timestamp::from_unix_micros(0);
                let receive = ReceiveWal { clock, cancel: &Cancel::new(), process: None, events: &|_| {} };
                crate::sides::run(server.receive_wal(&receive)).expect("WAL is received");
            });
        }
    });
}
