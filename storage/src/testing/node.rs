//! Files, directories and symbolic links, apart from their names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::change::NodeId;
use crate::{Dir, Error, Kind, RelativePath};

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) mode: u32,
    /// `None`: whenever it was written last.
    pub(super) modified: Option<SystemTime>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Shared by all copies of a tree until one of them changes it.
    File(Arc<Vec<u8>>),
    Directory(BTreeMap<OsString, NodeId>),
    Symlink(PathBuf),
}

impl Node {
    pub(super) fn file(mode: u32) -> Self {
        Self { content: Content::File(Arc::default()), mode, modified: None }
    }

    pub(super) fn directory(mode: u32) -> Self {
        Self { content: Content::Directory(BTreeMap::new()), mode, modified: None }
    }

    pub(super) fn symlink(target: PathBuf) -> Self {
        Self { content: Content::Symlink(target), mode: 0o777, modified: None }
    }

    /// Reads what has a name on disk, without what is below it; `None` if nothing has it. A pipe, socket or device,
    /// which a [`Dir`] does not make, is taken for an empty file.
    pub(super) fn load(dir: &Dir, path: &RelativePath) -> Result<Option<Self>, Error> {
        let Some(stat) = dir.stat(path)? else { return Ok(None) };
        let content = match stat.kind {
            Kind::File => dir.read(path, u64::MAX)?.map(|contents| Content::File(Arc::new(contents))),
            Kind::Directory => Some(Content::Directory(BTreeMap::new())),
            Kind::Symlink => dir.read_link(path)?.map(Content::Symlink),
            Kind::Other => Some(Content::File(Arc::default())),
        };
        Ok(content.map(|content| Self { content, mode: stat.mode, modified: Some(stat.modified()) }))
    }

    pub(super) fn entries(&self) -> Option<&BTreeMap<OsString, NodeId>> {
        match &self.content {
            Content::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn entries_mut(&mut self) -> Option<&mut BTreeMap<OsString, NodeId>> {
        match &mut self.content {
            Content::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    /// Puts bytes at an offset, with zeros before them where the file is shorter.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let Content::File(contents) = &mut self.content else { return };
        let contents = Arc::make_mut(contents);
        self.modified = None;
        let start = usize::try_from(offset).expect("files of tests fit into memory");
        let end = start + bytes.len();
        if contents.len() < end {
            contents.resize(end, 0);
        }
        contents[start..end].copy_from_slice(bytes);
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if let Content::File(contents) = &mut self.content {
            self.modified = None;
            Arc::make_mut(contents).resize(usize::try_from(length).expect("files of tests fit into memory"), 0);
        }
    }
}
