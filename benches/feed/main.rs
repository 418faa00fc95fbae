//! Replay of 300 segments by a real server that is fed them, beside replay of the same from local files.
//!
//! The WAL is that of updates all over a table, each round after a checkpoint: most of it is page images, which replay fast,
//! so that much depends on how the segments come. The archive has them compressed with zstd. What is timed is a server from
//! its start to its shutdown at the target, on a fresh copy of the same base backup, with `fsync = off` and 256 MB of shared
//! buffers. Questions, and the answers that are hoped for:
//!
//! - `local`: how long does it take where `get-wal --feed` runs on the server's own host, beside `cp` from a directory with
//!   the uncompressed segments? At most 1.05 times as long.
//! - `latency`: how long does it take where `barman-wal-restore --feed` asks another host, and every question is 50 ms under
//!   way, beside the same `cp`? At most 1.1 times as long.
//! - `barman`: how long does Barman 3.19.1 take, with `get-wal` and with `barman-wal-restore -p 4` and the same latency? It
//!   takes minutes, so each is measured once.
//!
//! The other host is this one: a stand-in for ssh holds back each line that is asked by 50 ms, and the command itself once.
//! So do networks: questions that are asked at the same time are under way at the same time. Nothing is encrypted.
//!
//! `feed [prepare | local | latency | barman] [PAIRS]` prepares, or measures one of these, or the first two. What is replayed
//! is made once and kept in `.cache/bench`, 7 GB. Copies of the backup lie in `TMPDIR`.

// What is measured is made and thrown away.
#![allow(clippy::disallowed_methods)]

mod far_host;
mod ground;

use benches::Comparison;

use ground::{Ground, Way};

fn main() {
    if far_host::is_asked_for() {
        return far_host::run();
    }
    // cargo adds its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let pairs = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let wanted = arguments.iter().find(|argument| argument.parse::<usize>().is_err()).map(String::as_str);
    let ground = Ground::open();
    println!("{} segments", ground.segments());
    for (name, way) in [("local", Way::Feed), ("latency", Way::DistantFeed)] {
        if wanted.is_none_or(|wanted| wanted == name) {
            let outcome = Comparison::of_pairs(pairs).measure(|| ground.replay(Way::Copy), || ground.replay(way));
            let (copy, fed) = (outcome.first_secs().median, outcome.second_secs().median);
            println!("{name}: {} times as long as with cp [{fed:.2} and {copy:.2} s]", outcome.speed());
        }
    }
    if wanted == Some("barman") {
        for way in [Way::Barman, Way::DistantBarman] {
            println!("{way:?}: {:.1} s", ground.replay(way).as_secs_f64());
        }
    }
}
