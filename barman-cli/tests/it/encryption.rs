//! WAL that is stored encrypted, by this program and by Barman 3.19.1, each of which reads what the other stored.

use crate::scene::ours;
use std::path::Path;
use std::process::Command;
use test_support::{Barman, BarmanHome, CommandExt, Postgres};

/// A home whose user has a key with a passphrase, for a server that nothing needs to reach.
fn home(compression: &str) -> BarmanHome {
    let home = BarmanHome::new();
    let options = [
        ("conninfo", "host=/nonexistent"),
        ("streaming_conninfo", "host=/nonexistent"),
        ("backup_method", "postgres"),
        ("archiver", "on"),
        ("compression", compression),
        ("encryption", "gpg"),
        ("encryption_key_id", "wal@example"),
        ("encryption_passphrase_command", "printf correct"),
    ];
    home.server("main", &options);
    std::fs::create_dir_all(home.path().join("main/incoming")).expect("the home is ours");
    let key = ["--pinentry-mode", "loopback", "--passphrase", "correct", "--quick-generate-key", "wal@example"];
    gpg(&home, "gpg").args(["--batch", "--quiet"]).args(key).succeed();
    home
}

fn gpg(home: &BarmanHome, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", home.path()).env_remove("GNUPGHOME");
    command
}

fn fetch(barman: &Barman, home: &BarmanHome, wal: &str) -> Vec<u8> {
    let output = barman.command(home).args(["get-wal", "main", wal]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn deliver(server: &Postgres, incoming: &Path) -> (String, Vec<u8>) {
    server.psql("create table if not exists t (i int); insert into t select generate_series(1, 1000)");
    let name = server.switch_wal();
    let contents = std::fs::read(server.data_dir().join("pg_wal").join(&name)).expect("the segment is there");
    std::fs::write(incoming.join(&name), &contents).expect("the home is ours");
    (name, contents)
}

#[test]
fn each_reads_what_the_other_encrypted() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    for compression in ["gzip", "zstd"] {
        let home = home(compression);
        let incoming = home.path().join("main/incoming");
        let (ours, barman) = (ours(), Barman::reference());
        let mut delivered = Vec::new();
        for archiver in [&ours, &barman] {
            delivered.push(deliver(&server, &incoming));
            archiver.succeed(&home, &["archive-wal", "main"]);
        }
        let index = std::fs::read_to_string(home.path().join("main/wals/main-xlog.db")).expect("the index");
        assert!(index.lines().all(|line| line.ends_with(&format!("\t{compression}\tgpg"))), "{index}");
        for (name, contents) in &delivered {
            let stored = std::fs::read(home.path().join("main/wals/0000000100000000").join(name)).expect("stored");
            assert!(stored.len() < contents.len() / 2, "compressed before it was encrypted");
            for reader in [&ours, &barman] {
                assert!(fetch(reader, &home, name) == *contents, "{compression} {name}");
            }
        }

        // The same segment once more is no error, and another one under its name is.
        let (name, mut contents) = delivered.remove(0);
        std::fs::write(incoming.join(&name), &contents).expect("the home is ours");
        ours.succeed(&home, &["archive-wal", "main"]);
        contents[500_000] ^= 1;
        std::fs::write(incoming.join(&name), &contents).expect("the home is ours");
        assert_eq!(ours.run(&home, &["archive-wal", "main"]).code, Some(1));

        // What was seen before it was encrypted is still known; of what Barman stored, only the checksum is.
        let verified = ours.succeed(&home, &["verify-archive", "--all", "main"]);
        assert!(verified.contains("2 files are what was archived"), "{verified}");
        assert!(verified.contains("the records of 1 cannot be read here"), "{verified}");
        gpg(&home, "gpgconf").args(["--kill", "all"]).succeed();
    }
}
