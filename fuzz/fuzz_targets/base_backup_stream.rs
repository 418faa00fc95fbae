//! A base backup as servers send it, in both layouts, compressed or not: what has failed is never whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::testing::fuzz;

fuzz_target!(|bytes: &[u8]| fuzz::base_backup(bytes));
