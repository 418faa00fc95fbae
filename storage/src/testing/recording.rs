//! What was done, and what a crash may leave of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Survivors;
use super::dice::Dice;
use super::node::{Content, Node};
use crate::Error;
use crate::change::NodeId;

/// The changes that a [`Recorder`](super::Recorder) saw, and the tree that they began with.
#[derive(Clone)]
pub struct Recording {
    /// Every node as it was when it was first seen.
    nodes: Vec<Node>,
    steps: Vec<Step>,
    /// Syncs of files that failed, each with how many changes there were before it.
    failed: Vec<(usize, NodeId)>,
    /// The positions of syncs that are taken not to have happened.
    without: Vec<usize>,
}

/// What becomes of the changes that were not synced before the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All survive, as when only the program is killed.
    Nothing,
    /// None survives.
    Everything,
    /// Each survives or not, or in part, as the number decides.
    Seed(u64),
}

/// A crash, to be repeated with [`Recording::survivors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// How many changes had been made.
    pub position: usize,
    /// What became of those that were not synced.
    pub loss: Loss,
}

/// One change. The nodes that it names are those of the recording.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Insert { place: Place, node: NodeId, is_durable: bool },
    Rename { from: Place, to: Place, node: NodeId },
    Remove { place: Place },
    Write { node: NodeId, offset: u64, bytes: Bytes },
    SetLength { node: NodeId, length: u64 },
    SetMode { node: NodeId, mode: u32 },
    SetModified { node: NodeId, modified: SystemTime },
    Sync { node: NodeId, contents_only: bool },
}

/// What was written; shown as its length only.
#[derive(Clone)]
pub(super) struct Bytes(pub(super) Arc<[u8]>);

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: NodeId,
    pub(super) name: OsString,
}

impl Recording {
    /// The node of the directory that is recorded.
    pub(super) const ROOT: NodeId = NodeId(0);

    pub(super) fn new(root: Node) -> Self {
        Self { nodes: vec![root], steps: Vec::new(), failed: Vec::new(), without: Vec::new() }
    }

    pub(super) fn add_node(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    pub(super) fn add_step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Notes that a sync failed. The system reports that once, and forgets what it could not write: no later sync of the file
    /// is about it. A directory is another matter, as its names are in the journal of the file system: when that cannot be
    /// written, no later sync succeeds.
    pub(super) fn add_failed_sync(&mut self, node: NodeId) {
        if matches!(self.nodes[node.0].content, Content::File(_)) {
            self.failed.push((self.steps.len(), node));
        }
    }

    /// Makes what was recorded so far the tree to begin with.
    pub(super) fn settle(&mut self) {
        self.nodes = self.nodes_after(self.steps.len(), Loss::Nothing);
        self.steps.clear();
    }

    /// Returns the number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the positions of the syncs, in ascending order.
    #[must_use]
    pub fn syncs(&self) -> Vec<usize> {
        let syncs = self.steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::Sync { .. }));
        syncs.map(|(position, _)| position).collect()
    }

    /// Returns what the sync at this position was of: its path below the recorded directory, at that moment. `None` if there
    /// is no sync there, or its file had no name.
    #[must_use]
    pub fn synced(&self, position: usize) -> Option<PathBuf> {
        let Step::Sync { node, .. } = *self.steps.get(position)? else { return None };
        let nodes = self.nodes_after(position, Loss::Nothing);
        path_of(&nodes, Self::ROOT, node, Path::new(""))
    }

    /// Returns the same recording as if the sync at this position had not happened. Positions stay what they are.
    #[must_use]
    pub fn without_sync(&self, position: usize) -> Self {
        let mut recording = self.clone();
        recording.without.push(position);
        recording
    }

    /// Returns what is on disk if the machine fails after the first `position` changes.
    ///
    /// # Panics
    /// There are not so many changes.
    #[must_use]
    pub fn survivors(&self, crash: Crash) -> Survivors {
        Survivors::new(&self.nodes_after(crash.position, crash.loss), Self::ROOT)
    }

    /// Builds what is on disk after a crash in a directory that is new or empty.
    ///
    /// # Errors
    /// The tree cannot be written there.
    ///
    /// # Panics
    /// As for [`survivors`](Self::survivors).
    pub fn replay(&self, crash: Crash, target: &Path) -> Result<(), Error> {
        self.survivors(crash).write_to(target)
    }

    /// Looks for a crash after which `is_safe` does not hold: at every position, with nothing lost, with everything
    /// lost, and with each of `seeds` seeds. `is_safe` is told how many changes had been made, and what survived.
    pub fn find_crash(&self, seeds: u64, is_safe: impl Fn(usize, &Survivors) -> bool) -> Option<Crash> {
        let losses = || [Loss::Nothing, Loss::Everything].into_iter().chain((0..seeds).map(Loss::Seed));
        (0..=self.len())
            .flat_map(|position| losses().map(move |loss| Crash { position, loss }))
            .find(|&crash| !is_safe(crash.position, &self.survivors(crash)))
    }

    fn nodes_after(&self, position: usize, loss: Loss) -> Vec<Node> {
        let steps = self.steps.get(..position).expect("a position within the recording");
        let syncs = self.syncs_of(steps);
        let mut dice = Dice::new(loss);
        let mut nodes = self.nodes.clone();
        for (position, step) in steps.iter().enumerate() {
            if step.is_durable(position, &syncs) {
                step.apply(&mut nodes, &mut Dice::new(Loss::Nothing));
            } else {
                step.apply(&mut nodes, &mut dice);
            }
        }
        nodes
    }

    /// Returns the syncs of each node among these steps.
    fn syncs_of(&self, steps: &[Step]) -> HashMap<NodeId, Syncs> {
        let mut syncs: HashMap<NodeId, Syncs> = HashMap::new();
        for (position, step) in steps.iter().enumerate() {
            match *step {
                Step::Sync { node, contents_only } if !self.without.contains(&position) => {
                    let syncs = syncs.entry(node).or_default();
                    syncs.contents.push(position);
                    if !contents_only {
                        syncs.everything.push(position);
                    }
                }
                _ => {}
            }
        }
        for (position, node) in &self.failed {
            syncs.entry(*node).or_default().failed.push(*position);
        }
        syncs
    }
}

/// Looks for a node below a directory.
fn path_of(nodes: &[Node], directory: NodeId, wanted: NodeId, path: &Path) -> Option<PathBuf> {
    if directory == wanted {
        return Some(path.to_owned());
    }
    let mut entries = nodes[directory.0].entries()?.iter();
    entries.find_map(|(name, node)| path_of(nodes, *node, wanted, &path.join(name)))
}

/// The positions of a node's syncs, each kind in ascending order.
#[derive(Debug, Default)]
struct Syncs {
    contents: Vec<usize>,
    everything: Vec<usize>,
    failed: Vec<usize>,
}

impl Syncs {
    /// Returns whether what was changed at `position` is on disk with one of `syncs`: the first one behind it, if none failed
    /// before that.
    fn reach(&self, syncs: &[usize], position: usize) -> bool {
        let next = |syncs: &[usize]| syncs.get(syncs.partition_point(|sync| *sync <= position)).copied();
        next(syncs).is_some_and(|sync| next(&self.failed).is_none_or(|failed| sync < failed))
    }
}

impl Step {
    /// Returns whether this step at `position` was followed by the sync that it needs.
    fn is_durable(&self, position: usize, syncs: &HashMap<NodeId, Syncs>) -> bool {
        let has_contents = |node: NodeId| syncs.get(&node).is_some_and(|syncs| syncs.reach(&syncs.contents, position));
        let has_everything =
            |node: NodeId| syncs.get(&node).is_some_and(|syncs| syncs.reach(&syncs.everything, position));
        match *self {
            Self::Insert { ref place, is_durable, .. } => is_durable || has_contents(place.directory),
            Self::Rename { ref from, ref to, .. } => has_contents(from.directory) && has_contents(to.directory),
            Self::Remove { ref place } => has_contents(place.directory),
            Self::Write { node, .. } | Self::SetLength { node, .. } => has_contents(node),
            Self::SetMode { node, .. } | Self::SetModified { node, .. } => has_everything(node),
            Self::Sync { .. } => true,
        }
    }

    /// Makes the change, or what the dice leave of it.
    fn apply(&self, nodes: &mut [Node], dice: &mut Dice) {
        match *self {
            Self::Write { node: NodeId(node), offset, ref bytes } => {
                for part in dice.surviving_parts(bytes.0.len()) {
                    nodes[node].write(offset + part.start as u64, &bytes.0[part]);
                }
            }
            Self::Sync { .. } => {}
            _ if !dice.survives() => {}
            Self::Insert { ref place, node, .. } => place.set(nodes, node),
            Self::Rename { ref from, ref to, node } => {
                from.clear(nodes, node);
                to.set(nodes, node);
            }
            Self::Remove { ref place } => place.remove(nodes),
            Self::SetLength { node: NodeId(node), length } => nodes[node].set_length(length),
            Self::SetMode { node: NodeId(node), mode } => nodes[node].mode = mode,
            Self::SetModified { node: NodeId(node), modified } => nodes[node].modified = Some(modified),
        }
    }
}

impl Place {
    fn set(&self, nodes: &mut [Node], node: NodeId) {
        if let Some(entries) = nodes[self.directory.0].entries_mut() {
            entries.insert(self.name.clone(), node);
        }
    }

    fn remove(&self, nodes: &mut [Node]) {
        if let Some(entries) = nodes[self.directory.0].entries_mut() {
            entries.remove(&self.name);
        }
    }

    /// Removes the name if it still stands for `node`, as it does not where a later change survived and an earlier one
    /// did not.
    fn clear(&self, nodes: &mut [Node], node: NodeId) {
        if nodes[self.directory.0].entries().and_then(|entries| entries.get(&self.name)) == Some(&node) {
            self.remove(nodes);
        }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().enumerate()).finish()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
