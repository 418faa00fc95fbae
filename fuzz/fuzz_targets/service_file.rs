//! A service file: what is found is an option that a connection string knows, and the first definition counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication_client::testing::options_in;

fuzz_target!(|text: &str| {
    for (option, _) in options_in(text, "main").unwrap_or_default() {
        assert!(option != "service" && option != "servicefile");
    }
    let first = format!("[main]\nhost=first\n[other]\n{text}");
    assert_eq!(options_in(&first, "main"), Some(vec![("host", "first".to_owned())]));
});
