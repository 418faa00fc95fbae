//! Which cluster a catalog belongs to: `identity.json`.

use barman_storage::OutFile;
use serde::Deserialize;
use wal_format::SystemId;

use crate::catalog::{FILE_MODE, existing, read_text};
use crate::{Catalog, Error, layout};

/// What `identity.json` says of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which cluster: WAL and backups of any other do not belong here.
    pub system_id: SystemId,
    /// Its major version, as Barman prints it, such as `15`. Written with the first backup and never updated.
    pub version: String,
}

/// The file's keys, in Barman's order.
#[derive(Deserialize)]
struct Document {
    systemid: String,
    version: String,
}

impl Catalog {
    /// Returns the identity of the cluster, once the first backup has recorded it.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        let Some(dir) = existing(&self.layout().backup_directory)? else { return Ok(None) };
        let path = layout::identity();
        let Some(text) = read_text(&dir, &path)? else { return Ok(None) };
        let invalid = |source| Error::Identity { path: layout::shown(&dir, &path), source };
        parse(&text).map(Some).map_err(invalid)
    }

    /// Records the identity of the cluster, unless that was done before.
    ///
    /// # Errors
    /// The catalog belongs to another cluster, or the file cannot be read or written.
    pub fn write_identity(&self, identity: &Identity) -> Result<(), Error> {
        match self.identity()? {
            None => {
                let write = |file: &mut OutFile| Ok::<_, Error>(file.write_all(print(identity).as_bytes())?);
                self.backup_dir()?.publish_new(&layout::identity(), FILE_MODE, write)?;
                Ok(())
            }
            Some(recorded) if recorded.system_id == identity.system_id => Ok(()),
            Some(recorded) => Err(Error::ForeignSystem {
                server: self.layout().server.clone(),
                expected: recorded.system_id,
                found: identity.system_id,
            }),
        }
    }
}

impl Catalog {
    /// Records another identity in place of the one that is there: what belongs here from now on is of this cluster, because
    /// somebody said so. Backups and WAL of the one before stay.
    ///
    /// # Errors
    /// The file cannot be written; then the old one is still there.
    pub fn replace_identity(&self, identity: &Identity) -> Result<(), Error> {
        Ok(self.backup_dir()?.replace(&layout::identity(), FILE_MODE, print(identity).as_bytes())?)
    }
}

fn parse(text: &str) -> Result<Identity, serde_json::Error> {
    let document: Document = serde_json::from_str(text)?;
    let system_id = document.systemid.parse().map_err(serde::de::Error::custom)?;
    Ok(Identity { system_id, version: document.version })
}

fn print(identity: &Identity) -> String {
    let systemid = serde_json::Value::from(identity.system_id.to_string());
    let version = serde_json::Value::from(identity.version.as_str());
    format!("{{\n    \"systemid\": {systemid},\n    \"version\": {version}\n}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n    \"systemid\": \"7710294594766418489\",\n    \"version\": \"15\"\n}\n";

    #[test]
    fn prints_what_barman_prints_and_reads_it() {
        let identity = Identity { system_id: SystemId::new(7_710_294_594_766_418_489), version: "15".to_owned() };
        assert_eq!(print(&identity), TEXT);
        assert_eq!(parse(TEXT).unwrap(), identity);
    }

    #[test]
    fn refuses_what_is_not_an_identity() {
        for text in ["", "{}", "[]", r#"{"systemid": "x", "version": "15"}"#, r#"{"systemid": 7, "version": "15"}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
