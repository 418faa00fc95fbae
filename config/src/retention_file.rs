//! Our own option file for retention: policies that `barman.conf` cannot hold.
//!
//! Barman does not enforce a `retention_policy` that it cannot read. So what it cannot express stands in a file that it
//! does not look at, beside the main file: `/etc/barman.retention` beside `/etc/barman.conf`.

use std::path::{Path, PathBuf};

use barman_retention::Rules;

use crate::configuration::{Configuration, read};
use crate::error::Error;
use crate::files::Files;
use crate::ini::Document;

/// The only option of a section, which is called after a server.
const OPTION: &str = "retention";

/// Where the file is that belongs to a main configuration file.
fn beside(main: &Path) -> PathBuf {
    main.with_extension("retention")
}

impl Configuration {
    /// Reads the file, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or has a section that is no server, an option other than `retention`, or a policy that cannot be
    /// understood. Nothing is deleted by half-understood rules.
    pub(crate) fn read_retention_file(&mut self, files: &impl Files) -> Result<(), Error> {
        let path = beside(&self.path);
        if !files.is_file(&path) {
            return Ok(());
        }
        for section in Document::parse(&path, &read(&path, files)?)?.sections {
            for entry in section.entries {
                let invalid = |expected, found: &str| Error::InvalidValue {
                    path: path.clone(),
                    line: entry.line,
                    section: section.name.clone(),
                    option: entry.key.clone(),
                    expected,
                    found: found.to_owned(),
                };
                let server = self.servers.get_mut(&section.name);
                let server = server.ok_or_else(|| invalid("the name of a server in brackets", &section.name))?;
                if entry.key != OPTION {
                    return Err(invalid("no other option than 'retention'", &entry.key));
                }
                let rules = entry.value.parse::<Rules>();
                let unreadable = |source| Error::RetentionRules { path: path.clone(), line: entry.line, source };
                server.retention_rules = Some(rules.map_err(unreadable)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::TextFiles;

    fn load(retention: &str) -> Result<Configuration, Error> {
        let main = "[barman]\nbarman_home = /srv\n[main]\nretention_policy = REDUNDANCY 2\n[other]\narchiver = on\n";
        let files = TextFiles::from([("/etc/barman.conf", main), ("/etc/barman.retention", retention)]);
        Configuration::load(Path::new("/etc/barman.conf"), &files)
    }

    #[test]
    fn a_server_gets_the_rules_of_its_section() {
        let configuration = load("# GFS\n[main]\nretention = keep 7 daily in UTC\n").unwrap();
        let rules = |server: &str| configuration.servers[server].retention_rules.as_ref().map(ToString::to_string);
        assert_eq!(rules("main").as_deref(), Some("KEEP 7 DAILY IN UTC"));
        assert_eq!(rules("other"), None);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_with_its_place() {
        for (text, expected) in [
            ("[mian]\nretention = REDUNDANCY 2\n", "line 2: expected the name of a server in brackets"),
            ("[main]\nretension = REDUNDANCY 2\n", "line 2: expected no other option than 'retention'"),
            ("[main]\n\nretention = for ever\n", "/etc/barman.retention, line 3: the policy cannot be understood"),
            ("retention = REDUNDANCY 2\n", "line 1"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
