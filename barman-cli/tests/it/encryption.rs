//! WAL that is stored encrypted, by this program and by Barman 3.19.1, each of which reads what the other stored; and backups
//! that Barman encrypted.

use crate::scene::{Scene, ours};
use std::path::{Path, PathBuf};
use std::process::Command;
use test_support::{Barman, BarmanHome, CommandExt, Finished, Postgres};

/// What has a server's files encrypted for the key of [`make_key`].
pub(crate) const ENCRYPTED: [(&str, &str); 3] =
    [("encryption", "gpg"), ("encryption_key_id", "wal@example"), ("encryption_passphrase_command", "printf correct")];

/// What has Barman encrypt backups.
pub(crate) const ENCRYPTED_BACKUPS: [(&str, &str); 2] =
    [("backup_compression", "gzip"), ("backup_compression_format", "tar")];

/// Gives the user of a home a key with a passphrase. The agent that holds it ends with what is returned.
#[must_use]
pub(crate) fn make_key(home: &BarmanHome) -> GpgAgent {
    make_key_below(&home.path(), "correct")
}

/// The same for whoever has this home directory.
#[must_use]
pub(crate) fn make_key_below(home: &Path, passphrase: &str) -> GpgAgent {
    let key = ["--pinentry-mode", "loopback", "--passphrase", passphrase, "--quick-generate-key", "wal@example"];
    gpg(home, "gpg").args(["--batch", "--quiet"]).args(key).succeed();
    GpgAgent(home.to_owned())
}

/// The process that holds the keys of a home.
pub(crate) struct GpgAgent(PathBuf);

impl GpgAgent {
    /// Where the keys are, as `GNUPGHOME` says it.
    pub(crate) fn directory(&self) -> PathBuf {
        self.0.join(".gnupg")
    }

    /// Decrypts a file that was encrypted for a key without a passphrase.
    pub(crate) fn decrypt(&self, encrypted: &Path) -> Vec<u8> {
        let mut decrypt = gpg(&self.0, "gpg");
        let output =
            decrypt.args(["--batch", "--quiet", "--decrypt"]).arg(encrypted).output().expect("it can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for GpgAgent {
    fn drop(&mut self) {
        let _ = gpg(&self.0, "gpgconf").args(["--kill", "all"]).finish();
    }
}

fn gpg(home: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", home).env_remove("GNUPGHOME");
    command
}

/// Those of a server that nothing needs to reach.
fn options(compression: &str) -> [(&str, &str); 5] {
    [
        ("conninfo", "host=/nonexistent"),
        ("streaming_conninfo", "host=/nonexistent"),
        ("backup_method", "postgres"),
        ("archiver", "on"),
        ("compression", compression),
    ]
}

/// A home for it.
fn home(compression: &str) -> BarmanHome {
    let home = BarmanHome::new();
    home.server("main", &[&options(compression)[..], &ENCRYPTED].concat());
    std::fs::create_dir_all(home.path().join("main/incoming")).expect("the home is ours");
    home
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
        let _agent = make_key(&home);
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

        // So it is where nobody who archives can decrypt: what it was is noted.
        contents[500_000] ^= 1;
        home.server("main", &[&options(compression)[..], &ENCRYPTED[..2]].concat());
        std::fs::write(incoming.join(&name), &contents).expect("the home is ours");
        ours.succeed(&home, &["archive-wal", "main"]);
        contents[500_000] ^= 1;
        std::fs::write(incoming.join(&name), &contents).expect("the home is ours");
        assert_eq!(ours.run(&home, &["archive-wal", "main"]).code, Some(1));
        assert!(std::fs::read_dir(&incoming).expect("the home is ours").next().is_none());

        // What was seen before it was encrypted is still known; of what Barman stored, only the checksum is.
        let verified = ours.succeed(&home, &["verify-archive", "--all", "main"]);
        assert!(verified.contains("2 files are what was archived"), "{verified}");
        assert!(verified.contains("the records of 1 cannot be read here"), "{verified}");
    }
}

/// We do not make encrypted backups yet; everything else is done with them as Barman does it. How they are restored is shown by
/// `packed_backups`.
#[test]
fn what_barman_encrypted_is_listed_shown_kept_and_deleted() {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    let _agent = make_key(&scene.home);
    let (ours, barman) = (ours(), Barman::reference());
    let options = [("compression", "gzip")];
    scene.configure(&scene.server, &[&options[..], &ENCRYPTED, &ENCRYPTED_BACKUPS].concat());
    barman.succeed(&scene.home, &["receive-wal", "--create-slot", "main"]);
    ours.succeed(&scene.home, &["cron"]);
    scene.wait_until_streaming();
    barman.succeed(&scene.home, &["switch-wal", "--force", "--archive", "main"]);
    barman.succeed(&scene.home, &["backup", "--wait", "--immediate-checkpoint", "main"]);
    barman.succeed(&scene.home, &["backup", "--wait", "--immediate-checkpoint", "main"]);
    let ids = barman.succeed(&scene.home, &["list-backups", "--minimal", "main"]);
    let older = ids.lines().last().expect("two");
    let data = scene.home.path().join(format!("main/base/{older}/data"));
    assert!(data.join("base.tar.gz.gpg").exists());

    for command in [
        &["list-backups", "main"][..],
        &["show-backup", "main", older],
        &["-f", "json", "show-backup", "main", older],
        &["list-files", "main", older],
        &["list-files", "--target", "full", "main", older],
        &["check-backup", "main", older],
        &["keep", "--target", "full", "main", older],
        &["keep", "--status", "main", older],
        &["keep", "--release", "main", older],
        // It has a manifest, but none of the files that this names.
        &["generate-manifest", "main", older],
        &["verify-backup", "main", older],
    ] {
        let (theirs, mine) = (barman.run(&scene.home, command), ours.run(&scene.home, command));
        assert_eq!((theirs.code, &theirs.stdout), (mine.code, &mine.stdout), "{command:?}\n{theirs:?}\n{mine:?}");
        let said = |finished: &Finished| finished.stderr.lines().filter(|line| line.contains("manifest")).count();
        assert_eq!(said(&theirs), said(&mine), "{command:?}\n{theirs:?}\n{mine:?}");
    }
    let refused = ours.run(&scene.home, &["backup", "main"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("is not built yet"), "{refused:?}");
    assert!(refused.stderr.contains("HINT: "), "{refused:?}");

    ours.succeed(&scene.home, &["delete", "main", older]);
    assert!(!data.exists());
    let listed = [&barman, &ours].map(|tool| tool.succeed(&scene.home, &["list-backups", "main"]));
    assert_eq!(listed[0], listed[1]);
    assert_eq!(listed[0].lines().count(), 1);
}
