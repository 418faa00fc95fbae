//! Watching changes as they are made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::node::Node;
use super::recording::{Bytes, Place, Recording, Step};
use crate::change::{Change, NodeId};
use crate::{Dir, RelativePath};

/// The recorders that are running, the latest last.
static JOURNALS: Mutex<Vec<Weak<Journal>>> = Mutex::new(Vec::new());

/// Records the changes below one directory, by every [`Dir`] that is opened there after the start.
///
/// What is there at the start is taken as durable, and so is what appears there without a [`Dir`], as soon as a [`Dir`]
/// works on it; from then on it is not to be changed in other ways. A directory is known by its path: a [`Dir`] of one
/// that was renamed since has to be opened again.
#[derive(Debug)]
pub struct Recorder(Arc<Journal>);

impl Recorder {
    /// Starts recording below a directory.
    ///
    /// # Panics
    /// The directory cannot be read.
    #[must_use]
    pub fn start(root: &Path) -> Self {
        let journal = Arc::new(Journal::new(root));
        lock(&JOURNALS).push(Arc::downgrade(&journal));
        Self(journal)
    }

    /// Returns the number of changes so far, which is the position of the next one.
    #[must_use]
    pub fn position(&self) -> usize {
        lock(&self.0.state).recording.len()
    }

    /// Lets the change that would be recorded at `position` fail, once, with an error number of the system. It is not
    /// made. One that would fail by itself, such as making a directory that is there, does not count. Of a file whose sync fails, what was written since the last good one may be lost ever after.
    pub fn fail_at(&self, position: usize, raw_os_error: i32) {
        lock(&self.0.state).faults.insert(position, raw_os_error);
    }

    /// Returns what was recorded so far.
    #[must_use]
    pub fn recording(&self) -> Recording {
        lock(&self.0.state).recording.clone()
    }
}

/// The shared part of a recorder, which each [`Dir`] below its directory holds.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Without symbolic links.
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    recording: Recording,
    /// The names that exist now, of each directory.
    names: BTreeMap<NodeId, BTreeMap<OsString, NodeId>>,
    faults: BTreeMap<usize, i32>,
}

impl Journal {
    fn new(root: &Path) -> Self {
        let root = std::fs::canonicalize(root).expect("the directory to record exists");
        let recording = Recording::new(Node::directory(0o700));
        let names = BTreeMap::from([(Recording::ROOT, BTreeMap::new())]);
        let mut state = State { recording, names, faults: BTreeMap::new() };
        state.adopt_entries(&Dir::open(&root).expect("the directory to record can be read"), Recording::ROOT);
        state.recording.settle();
        Self { root, state: Mutex::new(state) }
    }

    /// Finds the recorder that was started last at this directory or above it.
    pub(crate) fn covering(path: &Path) -> Option<Arc<Self>> {
        let mut journals = lock(&JOURNALS);
        journals.retain(|journal| journal.strong_count() > 0);
        let path = std::fs::canonicalize(path).ok()?;
        journals.iter().rev().filter_map(Weak::upgrade).find(|journal| path.starts_with(&journal.root))
    }

    /// Returns the node of the directory at this path.
    pub(crate) fn directory(&self, path: &Path) -> NodeId {
        lock(&self.state).directory(&self.root, path).0
    }

    /// Returns the node that has this name.
    pub(crate) fn file(&self, path: &Path) -> NodeId {
        let named = lock(&self.state).named(&self.root, path);
        named.unwrap_or_else(|| panic!("{} is to be recorded but does not exist", path.display())).1
    }

    /// Makes a change and records it, unless it fails or is to fail.
    pub(crate) fn make<T>(&self, change: &Change<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut state = lock(&self.state);
        let step = state.step(&self.root, change);
        let position = state.recording.len();
        let fault = if change.is_vain() { None } else { state.faults.remove(&position) };
        if let Some(error) = fault {
            if let Some(Step::Sync { node, .. }) = step {
                state.recording.add_failed_sync(node);
            }
            return Err(io::Error::from_raw_os_error(error));
        }
        let done = act()?;
        state.record(step.expect("a change that succeeded was about something that exists"));
        Ok(done)
    }
}

impl State {
    /// Puts a change in terms of nodes; `None` if it is about a name that does not exist.
    fn step(&mut self, root: &Path, change: &Change<'_>) -> Option<Step> {
        Some(match *change {
            Change::CreateFile { ref path, mode } => self.creation(root, path, Node::file(mode)),
            Change::CreateDirectory { ref path, mode } => self.creation(root, path, Node::directory(mode)),
            Change::CreateLink { ref path, target } => self.creation(root, path, Node::symlink(target.to_path_buf())),
            Change::AddName { ref existing, ref path } => {
                let (_, node) = self.named(root, existing)?;
                Step::Insert { place: self.place(root, path).0, node, is_durable: false }
            }
            Change::Rename { ref from, ref to, .. } => {
                let (from, node) = self.named(root, from)?;
                Step::Rename { from, to: self.place(root, to).0, node }
            }
            Change::Remove { ref path } => Step::Remove { place: self.named(root, path)?.0 },
            Change::Write { node, offset, bytes } => Step::Write { node, offset, bytes: Bytes(bytes.into()) },
            Change::SetLength { node, length } => Step::SetLength { node, length },
            Change::SetMode { node, mode } => Step::SetMode { node, mode },
            Change::SetModified { node, modified } => Step::SetModified { node, modified },
            Change::Sync { node, contents_only } => Step::Sync { node, contents_only },
        })
    }

    fn creation(&mut self, root: &Path, path: &Path, node: Node) -> Step {
        let (place, _) = self.place(root, path);
        Step::Insert { place, node: self.recording.add_node(node), is_durable: false }
    }

    /// Adds a step to the recording and follows it in the names.
    fn record(&mut self, step: Step) {
        match &step {
            Step::Insert { place, node, .. } => self.set_name(place, *node),
            Step::Rename { from, to, node } => {
                self.remove_name(from);
                self.set_name(to, *node);
            }
            Step::Remove { place } => self.remove_name(place),
            _ => {}
        }
        self.recording.add_step(step);
    }

    fn set_name(&mut self, place: &Place, node: NodeId) {
        self.names.entry(place.directory).or_default().insert(place.name.clone(), node);
    }

    fn remove_name(&mut self, place: &Place) {
        self.names.entry(place.directory).or_default().remove(&place.name);
    }

    /// Returns the node that has a name, and the name's place; `None` if nothing has it.
    fn named(&mut self, root: &Path, path: &Path) -> Option<(Place, NodeId)> {
        let (place, directory) = self.place(root, path);
        let node = self.node_at(&place, &directory)?;
        Some((place, node))
    }

    /// Returns the place of a name in a directory that exists, and where that is on disk.
    fn place(&mut self, root: &Path, path: &Path) -> (Place, PathBuf) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            panic!("{} has no name to record", path.display());
        };
        let (directory, on_disk) = self.directory(root, parent);
        (Place { directory, name: name.to_os_string() }, on_disk)
    }

    /// Returns a directory that exists, and where it is on disk without symbolic links.
    fn directory(&mut self, root: &Path, path: &Path) -> (NodeId, PathBuf) {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let found = std::fs::canonicalize(path).unwrap_or_else(|e| panic!("{} was moved: {e}", path.display()));
        let Ok(below) = found.strip_prefix(root) else {
            panic!("{} is outside of the recorded {}", path.display(), root.display());
        };
        let mut reached = (Recording::ROOT, root.to_path_buf());
        for name in below {
            let place = Place { directory: reached.0, name: name.to_os_string() };
            let node = self.node_at(&place, &reached.1).expect("a directory that exists");
            reached = (node, reached.1.join(name));
        }
        reached
    }

    /// Returns the node at a place, taking over one that appeared without a `Dir`; `None` if there is none.
    fn node_at(&mut self, place: &Place, directory: &Path) -> Option<NodeId> {
        let known = self.names.get(&place.directory).and_then(|names| names.get(&place.name)).copied();
        known.or_else(|| self.adopt(&Dir::open(directory).expect("a directory to record can be read"), place))
    }

    /// Takes over what has a name on disk, with everything below it.
    fn adopt(&mut self, dir: &Dir, place: &Place) -> Option<NodeId> {
        let path = RelativePath::listed(&place.name);
        let node = Node::load(dir, &path).expect("what is recorded can be read")?;
        let is_directory = node.entries().is_some();
        let node = self.recording.add_node(node);
        self.record(Step::Insert { place: place.clone(), node, is_durable: true });
        if is_directory {
            self.adopt_entries(&dir.subdir(&path).expect("a directory that exists"), node);
        }
        Some(node)
    }

    fn adopt_entries(&mut self, dir: &Dir, directory: NodeId) {
        for entry in dir.entries().expect("a directory that is recorded can be read") {
            self.adopt(dir, &Place { directory, name: entry.name });
        }
    }
}

/// A test that panicked is over; what it recorded is whole all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
