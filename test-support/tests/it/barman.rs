//! The reference Barman on a home of the test's own.

use test_support::{Barman, BarmanHome, Postgres};

#[test]
fn the_reference_is_barman_3_19_1_and_works_on_the_home() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let home = BarmanHome::new();
    let conninfo = server.conninfo();
    let connections = [("conninfo", conninfo.as_str()), ("streaming_conninfo", &conninfo)];
    let streaming = [("backup_method", "postgres"), ("streaming_archiver", "on"), ("slot_name", "barman")];
    home.server("main", &[connections.as_slice(), &streaming].concat());

    let barman = Barman::reference();
    assert!(barman.succeed(&home, &["--version"]).starts_with("3.19.1 "));
    assert_eq!(barman.succeed(&home, &["list-servers"]), "main - the server main\n");
    barman.succeed(&home, &["receive-wal", "--create-slot", "main"]);
    assert_eq!(server.psql("select slot_name from pg_replication_slots"), "barman");
    assert_ne!(barman.run(&home, &["list-backups", "other"]).code, Some(0));
}
