//! Restoring 1.5 GiB of pgbench, beside pgBackRest of Debian with two processes and Barman 3.19.1.
//!
//! Questions, and the answers that are hoped for, with checksums verified and everything synced on our side, two threads, and
//! the backups in the page cache:
//!
//! - How long does a full restore take? At most as long as pgBackRest's, whose repository is not compressed, or with zstd.
//! - How long does a full restore take of a backup that Barman compressed with zstd? At most as long as Barman's.
//! - How long does a delta restore of an unchanged directory take? At most 0.7 times as long as pgBackRest's.
//!
//! Barman neither verifies nor syncs, and pgBackRest copies no WAL. `restore [full | packed | delta] [PAIRS]` measures one of
//! these, or all. Files lie in `TMPDIR`, which needs 12 GB.

// What is measured is made and thrown away.
#![allow(clippy::disallowed_methods)]

mod ground;

use benches::Comparison;

use ground::{Backup, Ground, Side};

fn main() {
    // cargo adds its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let pairs = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let wanted = arguments.iter().find(|argument| argument.parse::<usize>().is_err());
    let is_wanted = |what: &str| wanted.is_none_or(|wanted| wanted == what);
    let repositories: &[_] = if is_wanted("full") || is_wanted("delta") { &["none", "zst"] } else { &[] };
    let ground = Ground::new(repositories);
    let (plain, compressed) = (Side::PgBackRest("none"), Side::PgBackRest("zst"));
    let full = |what: &str, name: &str, side: Side, backup: Backup| {
        let (ours, theirs) = (|| ground.full(Side::Ours, backup), || ground.full(side, backup));
        report(what, name, &Comparison::of_pairs(pairs).measure(ours, theirs));
    };
    if is_wanted("full") {
        full("full", "pgBackRest", plain, Backup::Plain);
        full("full", "pgBackRest, zstd", compressed, Backup::Plain);
        full("full", "Barman", Side::Barman, Backup::Plain);
    }
    if is_wanted("packed") {
        full("full, packed with zstd", "Barman", Side::Barman, Backup::Packed);
    }
    if is_wanted("delta") {
        let outcome = Comparison::of_pairs(pairs).measure(|| ground.delta(Side::Ours), || ground.delta(plain));
        report("delta, unchanged", "pgBackRest", &outcome);
    }
}

fn report(what: &str, name: &str, outcome: &benches::Outcome) {
    let (ours, theirs) = (outcome.first_secs().median, outcome.second_secs().median);
    println!("{what}: times as fast as {name} {} [{ours:.2} and {theirs:.2} s]", outcome.speed());
}
