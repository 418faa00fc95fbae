//! A configuration file, from its lines to typed options.
#![no_main]

use std::path::Path;

use barman_config::{Configuration, TextFiles};
use libfuzzer_sys::fuzz_target;

const PATH: &str = "/etc/barman.conf";

fuzz_target!(|text: &str| {
    if let Err(error) = Configuration::load(Path::new(PATH), &TextFiles::from([(PATH, text)])) {
        assert!(!error.to_string().is_empty());
    }
});
