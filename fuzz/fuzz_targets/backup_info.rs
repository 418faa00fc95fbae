//! A backup's record: what was written once, line breaks within values gone, survives being read and written again.
#![no_main]

use barman_catalog::{BackupId, BackupInfo, LocalZone};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let id = || "20261120T190142".parse::<BackupId>().expect("an id as Barman makes it");
    if let Ok(info) = BackupInfo::parse(id(), text, &LocalZone::UTC) {
        let written = info.to_text();
        let again = BackupInfo::parse(id(), &written, &LocalZone::UTC).expect("what we write can be read");
        assert_eq!(again.to_text(), written);
    }
});
