//! [`Archives`]: which archives a base backup must consist of, and which of them have come.

use super::event::Tablespace;
use super::options::BaseBackupOptions;
use crate::protocol_error::ProtocolError;

/// The archives that were announced and, of each, whether it has begun; and the same of the manifest.
#[derive(Debug)]
pub(super) struct Archives {
    announced: Vec<Tablespace>,
    begun: Vec<bool>,
    manifest: Manifest,
    /// How the names of archives end.
    suffix: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manifest {
    NotWanted,
    Awaited,
    Begun,
}

impl Archives {
    pub(super) fn new(options: &BaseBackupOptions) -> Self {
        let manifest = if options.manifest { Manifest::Awaited } else { Manifest::NotWanted };
        let suffix = options.compression.map_or("", |compression| compression.suffix());
        Self { announced: Vec::new(), begun: Vec::new(), manifest, suffix }
    }

    /// Takes the server's list. The data directory is in it once.
    pub(super) fn announce(&mut self, tablespaces: Vec<Tablespace>) -> Result<(), ProtocolError> {
        if tablespaces.iter().filter(|tablespace| tablespace.oid.is_none()).count() != 1 {
            return Err(ProtocolError::IncompleteBackup { missing: "the data directory" });
        }
        self.begun = vec![false; tablespaces.len()];
        self.announced = tablespaces;
        Ok(())
    }

    pub(super) fn are_announced(&self) -> bool {
        !self.announced.is_empty()
    }

    pub(super) fn announced(&self) -> &[Tablespace] {
        &self.announced
    }

    /// Begins the next archive of a server that sends them in the order of its list. `None` after the last.
    pub(super) fn begin_next(&mut self) -> Option<Tablespace> {
        let (begun, tablespace) = self.begun.iter_mut().zip(&self.announced).find(|(begun, _)| !**begun)?;
        *begun = true;
        Some(tablespace.clone())
    }

    /// Begins the archive called `name`: `base.tar` or `<oid>.tar`, with the suffix of the compression that was asked
    /// for behind it. Another suffix means bytes of a kind that nobody expects.
    pub(super) fn begin(&mut self, name: &str) -> Result<Tablespace, ProtocolError> {
        let stem = name.strip_suffix(self.suffix).and_then(|name| name.strip_suffix(".tar"));
        let is_meant = |tablespace: &Tablespace| match (tablespace.oid, stem) {
            (Some(oid), Some(stem)) => stem == oid.to_string(),
            (None, Some(stem)) => stem == "base",
            (_, None) => false,
        };
        let mut archives = self.begun.iter_mut().zip(&self.announced);
        match archives.find(|(begun, tablespace)| !**begun && is_meant(tablespace)) {
            Some((begun, tablespace)) if self.manifest != Manifest::Begun => {
                *begun = true;
                Ok(tablespace.clone())
            }
            _ => Err(ProtocolError::UnexpectedArchive { name: name.to_owned() }),
        }
    }

    /// Begins the manifest, which comes once, last, and only if it was asked for.
    pub(super) fn begin_manifest(&mut self) -> Result<(), ProtocolError> {
        if self.manifest != Manifest::Awaited {
            return Err(ProtocolError::UnexpectedArchive { name: "backup_manifest".to_owned() });
        }
        self.manifest = Manifest::Begun;
        Ok(())
    }

    /// Checks that all has begun; that it has also ended follows from the server's next result.
    pub(super) fn check_complete(&self) -> Result<(), ProtocolError> {
        if self.begun.contains(&false) {
            return Err(ProtocolError::IncompleteBackup { missing: "all archives" });
        }
        if self.manifest == Manifest::Awaited {
            return Err(ProtocolError::IncompleteBackup { missing: "a manifest" });
        }
        Ok(())
    }
}
