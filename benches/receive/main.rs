//! Receiving WAL, beside pg_receivewal of PostgreSQL 15 on the same server.
//!
//! Questions, and the answers that are hoped for:
//!
//! - How fast is WAL caught up with that the server wrote before, syncs included? 1.5 times as fast as by pg_receivewal.
//! - And without syncs? At least 90 % of what a client receives that throws everything away, and no more processor time than
//!   pg_receivewal takes. What can be had of the former is printed beside, by a client that writes what it receives into
//!   files and does nothing else; and what archiving the same segments takes.
//! - How fast are commits that wait for the receiver (`synchronous_standby_names`), of 1, 8 and 32 clients? At least as fast
//!   as with `pg_receivewal --synchronous`.
//! - How much memory do 16 servers take in one process? Less than 64 MiB, however busy they are.
//!
//! `receive [catch-up] [PAIRS]`, `receive standby [PAIRS [CLIENTS]]` and `receive servers` measure; `receive ours ...` and the
//! like are its sides. Where syncs count, files lie in `TMPDIR`; where they do not, in /dev/shm.

// Nothing here is a repository: what is written is measured and thrown away.
#![allow(clippy::disallowed_methods)]

mod cost;
mod ground;
mod running;
mod servers;
mod sides;
mod standby;

use std::process::Command;

use benches::{Comparison, process};

use cost::{Costs, cpu_of, time_of};
use ground::Ground;

fn main() {
    // cargo adds its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ours", conninfo, dir, last] => sides::receive(conninfo, dir.as_ref(), Some(last)),
        ["hold", conninfo, dir] => sides::receive(conninfo, dir.as_ref(), None),
        ["discard", conninfo, first, end] => sides::discard(conninfo, first, end),
        ["write", conninfo, dir, first, end] => sides::write(conninfo, dir.as_ref(), first, end),
        ["archive", dir] => sides::archive(dir.as_ref()),
        ["servers-side", configuration] => servers::receive(configuration.as_ref()),
        ["catch-up", ref pairs @ ..] => catch_up(number_of(pairs)),
        ["standby", pairs, clients] => {
            standby::measure(number_of(&[pairs]), &[clients.parse().expect("a number of clients")]);
        }
        ["standby", ref pairs @ ..] => standby::measure(number_of(pairs), &standby::CLIENTS),
        ["servers"] => servers::measure(),
        ref pairs => {
            catch_up(number_of(pairs));
            standby::measure(number_of(pairs), &standby::CLIENTS);
            servers::measure();
        }
    }
}

fn number_of(pairs: &[&str]) -> usize {
    pairs.first().map_or(9, |pairs| pairs.parse().expect("a number of pairs"))
}

fn catch_up(pairs: usize) {
    let ground = Ground::new();
    let mib = ground.len_bytes() as f64 / f64::from(1 << 20);
    let rate = |secs: f64| mib / secs;
    println!("{mib:.0} MiB of WAL that the server has written");

    let compare = |what: &str, first: &dyn Fn() -> Command, second: &dyn Fn() -> Command| {
        let outcome = Comparison::of_pairs(pairs).measure(|| time_of(first()), || time_of(second()));
        let rates = [outcome.first_secs(), outcome.second_secs()].map(|secs| rate(secs.median));
        println!("  {what}  {}  [{:.0} and {:.0} MiB/s]", outcome.speed(), rates[0], rates[1]);
    };
    let synced = ground.directories(&std::env::temp_dir());
    let (ours, theirs) = (|| synced.ours(&ground), || synced.pg_receivewal(&ground, true));
    compare("with syncs, times pg_receivewal                  ", &ours, &theirs);

    let unsynced = ground.directories("/dev/shm".as_ref());
    let (ours, write, discard) = (|| unsynced.ours(&ground), || unsynced.write(&ground), || ground.discard());
    compare("without syncs, times a client that keeps nothing", &ours, &discard);
    compare("a client that only writes, times that one        ", &write, &discard);
    compare("without syncs, times the one that only writes    ", &ours, &write);
    let theirs = || unsynced.pg_receivewal(&ground, false);
    compare("without syncs, times pg_receivewal --no-sync     ", &ours, &theirs);

    let costs =
        Costs::of_pairs(pairs, || cpu_of(unsynced.ours(&ground)), || cpu_of(unsynced.pg_receivewal(&ground, false)));
    let per_gib = 1024.0 / mib;
    let (ours, theirs) = (costs.first_secs().median * per_gib, costs.second_secs().median * per_gib);
    println!("  processor time, pg_receivewal's times ours  {}  [{ours:.2} and {theirs:.2} s/GiB]", costs.speed());
    process(unsynced.ours(&ground))();
    let archiving = cpu_of(unsynced.archive()).as_secs_f64() * per_gib;
    println!("  processor time of archiving the same        [{archiving:.2} s/GiB]");
}
