//! A password file: what it says about one account, also where a line for that account is put in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::testing::password_in;

fuzz_target!(|text: &str| {
    let lookup = |text: &str| password_in(text, "db1", 5432, "replication", "barman");
    let _ = lookup(text);
    let first = format!("db1:5432:replication:barman:first\n{text}");
    assert_eq!(lookup(&first).as_deref(), Some("first"));
});
