//! Both messages of SCRAM from a server that does not know the password: it is never believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::testing::fuzz;

fuzz_target!(|bytes: &[u8]| fuzz::scram(bytes));
