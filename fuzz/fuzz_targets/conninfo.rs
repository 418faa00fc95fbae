//! A connection string, in both of libpq's forms; no configuration and no error shows its password, or a piece of one that
//! was not quoted or encoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::{Config, Environment};

/// Longer than any word that the rest of the text shows by chance.
const PASSWORD: &str = "a-password-that-must-not-be-shown";

fuzz_target!(|text: &str| {
    let environment = Environment::default().with_user("barman");
    for conninfo in [
        text.to_owned(),
        // In front: behind, it would be the value of an option that ends in `=`.
        format!("password={PASSWORD} {text}"),
        format!("password=half {PASSWORD}{text}"),
        format!("postgresql://user:{PASSWORD}@{text}"),
        format!("postgresql://user:half@{PASSWORD}@{text}"),
    ] {
        let shown = match Config::from_conninfo(&conninfo, &environment) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(text.contains(PASSWORD) || !shown.contains(PASSWORD), "{conninfo}: {shown}");
    }
});
