//! What a server sends while it streams WAL, behind the position that was asked for: no gap passes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::testing::fuzz;

fuzz_target!(|bytes: &[u8]| fuzz::wal_stream(bytes));
