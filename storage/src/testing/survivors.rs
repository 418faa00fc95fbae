//! What is on disk after a crash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::node::{Content, Node};
use crate::change::NodeId;
use crate::{Dir, Error, RelativePath};

/// The files, directories and symbolic links that survived, by their paths below the recorded directory.
#[derive(Debug, Clone)]
pub struct Survivors(BTreeMap<PathBuf, Node>);

impl Survivors {
    pub(super) fn new(nodes: &[Node], root: NodeId) -> Self {
        let mut survivors = BTreeMap::new();
        let mut directories = vec![(PathBuf::new(), root)];
        while let Some((path, directory)) = directories.pop() {
            for (name, &node) in nodes[directory.0].entries().into_iter().flatten() {
                let path = path.join(name);
                if nodes[node.0].entries().is_some() {
                    directories.push((path.clone(), node));
                }
                survivors.insert(path, nodes[node.0].clone());
            }
        }
        Self(survivors)
    }

    /// Returns the contents of a file, or `None` if no file of that name survived.
    #[must_use]
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        match &self.0.get(path.as_ref())?.content {
            Content::File(contents) => Some(contents),
            _ => None,
        }
    }

    /// Returns whether anything of that name survived.
    #[must_use]
    pub fn contains(&self, path: impl AsRef<Path>) -> bool {
        self.0.contains_key(path.as_ref())
    }

    /// Returns the names of all that survived, each after the directory that holds it.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Builds the tree in a directory that is new or empty.
    ///
    /// # Errors
    /// The tree cannot be written there.
    pub fn write_to(&self, target: &Path) -> Result<(), Error> {
        let target = Dir::create(target, 0o700)?;
        for (path, node) in &self.0 {
            let path = RelativePath::new(path).expect("recorded names are plain");
            match &node.content {
                Content::Directory(_) => target.create_subdir(&path, node.mode).map(drop)?,
                Content::Symlink(link) => target.symlink(link, &path)?,
                Content::File(contents) => write_file(&target, &path, node, contents)?,
            }
        }
        Ok(())
    }
}

fn write_file(target: &Dir, path: &RelativePath, node: &Node, contents: &[u8]) -> Result<(), Error> {
    let mut file = target.create_file(path, node.mode)?;
    file.write_all(contents)?;
    node.modified.map_or(Ok(()), |modified| file.set_modified(modified))
}
