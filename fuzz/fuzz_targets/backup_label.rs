//! A backup label: whatever is understood survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::BackupLabel;

fuzz_target!(|text: &str| {
    if let Ok(label) = BackupLabel::parse(text) {
        assert_eq!(BackupLabel::parse(&label.to_string()).as_ref(), Ok(&label));
    }
});
