//! A password file: what it says about one account, also where a line for that account is put in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::testing::password_in;

fuzz_target!(|bytes: &[u8]| {
    let lookup = |bytes: &[u8]| password_in(bytes, "db1", 5432, "replication", "barman");
    let _ = lookup(bytes);
    let first = [b"db1:5432:replication:barman:first\n", bytes].concat();
    assert_eq!(lookup(&first).as_deref(), Some("first"));
});
