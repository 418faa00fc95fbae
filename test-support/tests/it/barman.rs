//! The reference Barman on a home of the test's own.

use test_support::{Barman, BarmanHome, Postgres};

#[test]
fn the_reference_is_barman_3_19_1_and_lists_the_servers_of_the_home() {
    let home = BarmanHome::new();
    home.server(
        "main",
        &[
            ("streaming_conninfo", "host=127.0.0.1"),
            ("backup_method", "postgres"),
            ("streaming_archiver", "on"),
        ],
    );
    let barman = Barman::reference();
    assert!(barman.succeed(&home, &["--version"]).starts_with("3.19.1 "));
    assert_eq!(barman.succeed(&home, &["list-servers"]), "main - the server main\n");
    assert_ne!(barman.run(&home, &["list-backups", "other"]).code, Some(0));
}

#[test]
fn the_reference_takes_a_backup() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let home = BarmanHome::new();
    let conninfo = server.conninfo();
    home.server(
        "main",
        &[
            ("conninfo", &conninfo),
            ("streaming_conninfo", &conninfo),
            ("backup_method", "postgres"),
            ("streaming_archiver", "on"),
            ("slot_name", "barman"),
        ],
    );
    let barman = Barman::reference();
    barman.succeed(&home, &["receive-wal", "--create-slot", "main"]);
    barman.succeed(&home, &["backup", "main"]);
    assert_eq!(
        barman
            .succeed(&home, &["list-backups", "--minimal", "main"])
            .lines()
            .count(),
        1
    );
}
