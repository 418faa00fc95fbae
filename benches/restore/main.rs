//! Restoring 1.5 GiB of pgbench, beside pgBackRest of Debian with two processes and Barman 3.19.1.
//!
//! Questions, and the answers that are hoped for, with checksums verified and everything synced on our side, two threads, and
//! the backups in the page cache:
//!
//! - How long does a full restore take? At most as long as pgBackRest's, whose repository is not compressed, or with zstd.
//! - How long does a delta restore of an unchanged directory take? At most 0.7 times as long as pgBackRest's.
//!
//! Barman neither verifies nor syncs, and pgBackRest copies no WAL. `restore [full | delta] [PAIRS]` measures one of these, or
//! both. Files lie in `TMPDIR`, which needs 12 GB.

// What is measured is made and thrown away.
#![allow(clippy::disallowed_methods)]

mod ground;

use benches::Comparison;

use ground::{Ground, Side};

fn main() {
    // cargo adds its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let pairs = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let wanted = arguments.iter().find(|argument| argument.parse::<usize>().is_err());
    let ground = Ground::new(&["none", "zst"]);
    let (plain, compressed) = (Side::PgBackRest("none"), Side::PgBackRest("zst"));
    if wanted.is_none_or(|wanted| wanted == "full") {
        for (name, side) in [("pgBackRest", plain), ("pgBackRest, zstd", compressed), ("Barman", Side::Barman)] {
            let outcome = Comparison::of_pairs(pairs).measure(|| ground.full(Side::Ours), || ground.full(side));
            report("full", name, &outcome);
        }
    }
    if wanted.is_none_or(|wanted| wanted == "delta") {
        let outcome = Comparison::of_pairs(pairs).measure(|| ground.delta(Side::Ours), || ground.delta(plain));
        report("delta, unchanged", "pgBackRest", &outcome);
    }
}

fn report(what: &str, name: &str, outcome: &benches::Outcome) {
    let (ours, theirs) = (outcome.first_secs().median, outcome.second_secs().median);
    println!("{what}: times as fast as {name} {} [{ours:.2} and {theirs:.2} s]", outcome.speed());
}
