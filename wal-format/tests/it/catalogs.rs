//! Catalogs read from a server's files, as the server itself reads them.

use std::path::Path;

use test_support::{Postgres, StopMode, majors};
use wal_format::{
    ClassRow, DatabaseRow, Deleted, HeapPage, Inserted, NamespaceRow, PgMajor, RelationMap, StatusPlace,
    TransactionStatus,
};

/// The columns of the rows that are there, in the order of the file.
fn rows(data: &Path, file: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(data.join(file)).expect("the server has this file");
    let status = |xid: u32| {
        let place = StatusPlace::of(xid, 8192);
        let segment = std::fs::read(data.join(format!("pg_xact/{:04X}", place.segment))).expect("pg_xact");
        place.status(&segment) == TransactionStatus::Committed
    };
    let mut rows = Vec::new();
    for (number, page) in (0..).zip(bytes.chunks(8192)) {
        let page = HeapPage::parse_checked(page, number).expect("a whole page with its checksum");
        for (_, tuple) in page.tuples() {
            let is_there = match tuple.inserted {
                Inserted::Committed => true,
                Inserted::RolledBack => false,
                Inserted::By(xid) => status(xid),
            };
            let is_gone = match tuple.deleted {
                Deleted::No => false,
                Deleted::Committed => true,
                Deleted::By(xid) => status(xid),
                Deleted::ByOneOfSeveral => panic!("nobody held rows together"),
            };
            if is_there && !is_gone {
                rows.push(tuple.data.to_vec());
            }
        }
    }
    rows
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn map(data: &Path, file: &str, major: PgMajor) -> RelationMap {
    let bytes = std::fs::read(data.join(file)).expect("the server has this file");
    RelationMap::parse(&bytes, major).expect("a relation map")
}

fn sorted(mut lines: Vec<String>) -> String {
    lines.sort();
    lines.join("\n")
}

#[test]
fn catalogs_are_read_as_the_server_reads_them() {
    for number in majors() {
        let mut server = Postgres::builder().major(number).initdb_option("-k").start();
        server.psql(
            "create schema \"s s\"; create table \"s s\".\"T\" (a int primary key, b text) with (fillfactor = 70)",
        );
        server.psql("create materialized view v as select 1; create database other");
        server.psql("begin; create table never (i int); rollback; create table gone (i int); drop table gone");
        server.psql("vacuum full pg_class; truncate \"s s\".\"T\"; alter table \"s s\".\"T\" rename to t2");
        let classes = server.psql(
            "select format('%s %s %s %s %s %s %s %s', oid, relname, relnamespace, relfilenode, reltablespace, \
             reltoastrelid, relkind, relisshared) from pg_class",
        );
        let namespaces = server.psql("select format('%s %s', oid, nspname) from pg_namespace");
        let databases = server.psql("select format('%s %s %s', oid, datname, dattablespace) from pg_database");
        let database = server.psql("select oid from pg_database where datname = current_database()");
        let namespace_file = server.psql("select pg_relation_filenode('pg_namespace')");
        server.stop(StopMode::Fast);

        let data = server.data_dir();
        let major = PgMajor::ALL.into_iter().find(|major| major.number() == number).expect("a known version");
        let class_file = map(data, &format!("base/{database}/pg_filenode.map"), major).file_of(ClassRow::CATALOG);
        let class_file = class_file.expect("pg_class is in the map");
        assert_ne!(class_file, ClassRow::CATALOG, "it was written anew");
        let found = rows(data, &format!("base/{database}/{class_file}"));
        let lines = found.iter().map(|row| {
            let row = ClassRow::parse(row, major).expect("a row of pg_class");
            let ClassRow { oid, name, namespace, file, tablespace, toast, kind, is_shared } = row;
            let (name, kind, shared) = (text(&name), char::from(kind), if is_shared { 't' } else { 'f' });
            format!("{oid} {name} {namespace} {file} {tablespace} {toast} {kind} {shared}")
        });
        assert_eq!(sorted(lines.collect()), sorted(classes.lines().map(str::to_owned).collect()), "{number}");

        let found = rows(data, &format!("base/{database}/{namespace_file}"));
        let lines = found.iter().map(|row| NamespaceRow::parse(row).expect("a row of pg_namespace"));
        let lines = lines.map(|row| format!("{} {}", row.oid, text(&row.name)));
        assert_eq!(sorted(lines.collect()), sorted(namespaces.lines().map(str::to_owned).collect()), "{number}");

        let database_file = map(data, "global/pg_filenode.map", major).file_of(DatabaseRow::CATALOG);
        let found = rows(data, &format!("global/{}", database_file.expect("pg_database is in the map")));
        let lines = found.iter().map(|row| DatabaseRow::parse(row, major).expect("a row of pg_database"));
        let lines = lines.map(|row| format!("{} {} {}", row.oid, text(&row.name), row.tablespace));
        assert_eq!(sorted(lines.collect()), sorted(databases.lines().map(str::to_owned).collect()), "{number}");
    }
}
