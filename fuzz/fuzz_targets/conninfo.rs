//! A connection string, in both of libpq's forms; its password is never shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::{Config, Environment};

/// Longer than any word that the rest of the text shows by chance.
const PASSWORD: &str = "a-password-that-must-not-be-shown";

fuzz_target!(|conninfo: &str| {
    let environment = Environment::default().with_user("barman");
    let _ = Config::from_conninfo(conninfo, &environment).map(|config| format!("{config:?}"));
    // In front: behind, it would be the value of an option that ends in `=`.
    if let Ok(config) = Config::from_conninfo(&format!("password={PASSWORD} {conninfo}"), &environment) {
        assert!(conninfo.contains(PASSWORD) || !format!("{config:?}").contains(PASSWORD));
    }
});
