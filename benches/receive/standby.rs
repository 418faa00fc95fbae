//! Commits that wait for a receiver.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use test_support::{CommandExt as _, PgbenchLoad, Postgres, pg_tool};

use crate::cost::Costs;
use crate::ground::ours;
use crate::running::Running;
use crate::sides::STANDBY;

/// Of each measurement. In two, what a start costs and the moods of the disk are more than what is to be seen.
const SECONDS: &str = "5";

/// The numbers of clients that are asked about.
pub(crate) const CLIENTS: [u32; 3] = [1, 8, 32];

pub(crate) fn measure(pairs: usize, clients: &[u32]) {
    let server =
        Postgres::builder().durable().setting("checkpoint_timeout", "1d").setting("max_wal_size", "8GB").start();
    PgbenchLoad::initialise(&server, 10);
    let dir = std::env::temp_dir().join(format!("bench-standby-{}", std::process::id()));
    println!("commits that wait for the receiver");
    for &clients in clients {
        let outcome = Costs::of_pairs(
            pairs,
            || seconds_each(&server, &our_receiver(&server), &dir, clients),
            || seconds_each(&server, &pg_receivewal(&server), &dir, clients),
        );
        let tps = |secs: f64| 1.0 / secs;
        let (ours, theirs) = (tps(outcome.first_secs().median), tps(outcome.second_secs().median));
        let speed = outcome.speed();
        println!(
            "  {clients:2} clients, times pg_receivewal --synchronous  {speed}  [{ours:.0} and {theirs:.0} commits/s]"
        );
    }
    let _ = std::fs::remove_dir_all(dir);
}

/// Makes the command that receives into a directory.
type Receiver<'a> = dyn Fn(&Path) -> Command + 'a;

fn our_receiver(server: &Postgres) -> Box<Receiver<'_>> {
    Box::new(|dir| ours(&["hold", &server.conninfo(), dir.to_str().expect("the path is text")]))
}

fn pg_receivewal(server: &Postgres) -> Box<Receiver<'_>> {
    Box::new(|dir| {
        let conninfo = format!("{} application_name={STANDBY}", server.conninfo());
        let mut command = Command::new(pg_tool(15, "pg_receivewal"));
        command.args(["--no-loop", "--synchronous", "-d", &conninfo, "-D"]).arg(dir);
        command
    })
}

/// Returns how much time passes for each commit.
fn seconds_each(server: &Postgres, receiver: &Receiver<'_>, dir: &Path, clients: u32) -> Duration {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).expect("it can be made");
    server.psql("alter system set synchronous_standby_names = ''");
    server.psql("select pg_reload_conf()");
    let _receiving = Running::start(receiver(dir));
    server.wait_until("select count(*) = 1 from pg_stat_replication where state = 'streaming'");
    server.psql(&format!("alter system set synchronous_standby_names = '{STANDBY}'"));
    server.psql("select pg_reload_conf()");
    server.wait_until("select sync_state = 'sync' from pg_stat_replication");
    let mut pgbench = Command::new(pg_tool(15, "pgbench"));
    pgbench.args(["-n", "-N", "-T", SECONDS, "-c", &clients.to_string(), &server.conninfo()]);
    let report = pgbench.succeed();
    let tps = report.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    Duration::from_secs_f64(1.0 / tps.expect("pgbench prints the rate"))
}
