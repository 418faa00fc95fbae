//! All that a server says in a session, from its first byte on: how the connection cuts it changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::testing::fuzz;

fuzz_target!(|bytes: &[u8]| fuzz::backend_messages(bytes));
