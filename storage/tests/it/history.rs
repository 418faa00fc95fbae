//! Any sequence of operations: what they did when they returned is there after a crash at any later moment.

use barman_storage::testing::Recorder;
use barman_storage::{Dir, PublishError, Published};
use proptest::prelude::*;

use super::{contents, empty_directory, path};

/// One of the operations, on one of a few names.
#[derive(Debug, Clone)]
enum Operation {
    Publish(&'static str, u8),
    Replace(&'static str, u8),
    Append(&'static str, u8),
    Rename(&'static str, &'static str),
    Remove(&'static str),
}

const NAMES: [&str; 4] = ["a", "b", "below/a", "below/b"];

impl Operation {
    fn carry_out(&self, dir: &Dir) -> Result<(), PublishError> {
        let bytes = |salt| contents(1200, salt);
        match *self {
            Self::Publish(name, salt) => {
                let written = dir.publish_new(&path(name), 0o600, |file| Ok(file.write_all(&bytes(salt))?));
                written.map(Published::into_value)
            }
            Self::Replace(name, salt) => Ok(dir.replace(&path(name), 0o600, &bytes(salt))?),
            Self::Append(name, salt) => Ok(dir.append(&path(name), 0o600, &bytes(salt))?),
            Self::Rename(from, to) => dir.rename_new(&path(from), dir, &path(to)).map(drop),
            Self::Remove(name) => {
                dir.remove_file(&path(name))?;
                let holder = path(name).parent().map_or_else(|| Ok(dir.clone()), |parent| dir.subdir(&parent))?;
                Ok(holder.sync()?)
            }
        }
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || proptest::sample::select(&NAMES[..]);
    prop_oneof![
        (name(), 0..4_u8).prop_map(|(name, salt)| Operation::Publish(name, salt)),
        (name(), 0..4_u8).prop_map(|(name, salt)| Operation::Replace(name, salt)),
        (name(), 0..4_u8).prop_map(|(name, salt)| Operation::Append(name, salt)),
        (name(), name()).prop_map(|(from, to)| Operation::Rename(from, to)),
        name().prop_map(Operation::Remove),
    ]
}

/// What each name stands for.
type State = [Option<Vec<u8>>; 4];

fn state(read: impl Fn(&str) -> Option<Vec<u8>>) -> State {
    NAMES.map(read)
}

/// Whether a name may stand for `found` when a crash interrupts the step from `old` to `new`.
fn is_permitted(found: Option<&Vec<u8>>, old: Option<&Vec<u8>>, new: Option<&Vec<u8>>) -> bool {
    // Appending may leave a part of what is appended; it is the only operation that continues a file.
    let is_appended =
        |new: &Vec<u8>| old.map_or(new.len() == 1200, |old| new.len() > old.len() && new.starts_with(old));
    let keeps_old = |found: &Vec<u8>| old.is_none_or(|old| found.starts_with(old));
    found == old || found == new || (new.is_some_and(is_appended) && found.is_some_and(keeps_old))
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 6))]

    #[test]
    fn whatever_was_done_stays_done(operations in proptest::collection::vec(operation(), 1..8)) {
        let (root, dir) = empty_directory();
        dir.create_subdir(&path("below"), 0o700).expect("directory");
        let recorder = Recorder::start(root.path());
        let dir = Dir::open(root.path()).expect("open");
        let on_disk = || state(|name| std::fs::read(root.path().join(name)).ok());
        let mut history = vec![(0, on_disk())];
        for operation in &operations {
            // Some fail, as a rename of an absent file does, and must then have changed nothing for good.
            let _ = operation.carry_out(&dir);
            history.push((recorder.position(), on_disk()));
        }

        let crash = recorder.recording().find_crash(4, |position, survivors| {
            let found = state(|name| survivors.file(name).map(<[u8]>::to_vec));
            let done = history.iter().rposition(|(returned, _)| *returned <= position).expect("the first is 0");
            let (old, new) = (&history[done].1, &history[(done + 1).min(history.len() - 1)].1);
            (0..NAMES.len()).all(|name| is_permitted(found[name].as_ref(), old[name].as_ref(), new[name].as_ref()))
        });
        prop_assert_eq!(crash, None);
    }
}
