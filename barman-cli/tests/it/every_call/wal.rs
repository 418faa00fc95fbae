//! Commands on WAL.

use super::backups::{ONE, backup};
use super::{Case, KeptHome};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use test_support::{CommandExt, Postgres};
use wal_format::testing::WalBuilder;
use wal_format::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalLayout};

const HISTORY: &str = "1\t0/900000\tno recovery target specified\n";
const LABEL: &str = "START WAL LOCATION: 0/300028 (file 000000010000000000000003)\n";

fn size() -> SegmentSize {
    SegmentSize::new(1 << 20).expect("a power of two")
}

/// The name of segment `number` of timeline 1.
pub(super) fn name(number: u64) -> String {
    SegmentNumber::new(number).name(TimelineId::FIRST, size()).to_string()
}

/// A segment that each other one can follow; `salt` decides what is in it.
fn segment(name: &str, salt: usize) -> Vec<u8> {
    segment_of(WalBuilder::layout(size(), 8192), name, salt)
}

fn segment_of(layout: WalLayout, name: &str, salt: usize) -> Vec<u8> {
    let name: SegmentName = name.parse().expect("a segment's name");
    let mut wal = WalBuilder::at(layout, name.number(size()).expect("a possible name"));
    wal.message(100 + 8 * salt);
    wal.cross_with_head(64, 0);
    wal.bytes().to_vec()
}

/// Delivers files long enough ago for nobody to wait for more of them.
fn deliver(home: &KeptHome, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let path = format!("incoming/{name}");
        home.write(&path, bytes);
        let file = std::fs::File::options().write(true).open(home.at(&path)).expect("it was just written");
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).expect("it is ours");
    }
}

/// Puts segments into the archive as our program does.
pub(super) fn archive(home: &KeptHome, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        deliver(home, &[(&name(number), &segment(&name(number), 7))]);
    }
    let archived = home.run(&["archive-wal", "main"], None);
    assert_eq!(archived.code, Some(0), "{archived:?}");
}

/// Segments, a history, a label, a `.partial` file of which the archive has a shorter one, and a file that it has already.
pub(super) fn archiving(options: &[(&str, &str)]) -> Case {
    let home = KeptHome::new(options);
    let (partial, mut shorter) = (format!("{}.partial", name(4)), segment(&name(4), 7));
    shorter[100_000..].fill(0);
    deliver(&home, &[(&partial, &shorter)]);
    archive(&home, [1]);
    let [one, two, three] = [1, 2, 3].map(|number| (name(number), segment(&name(number), 7)));
    let label = format!("{}.00000028.backup", name(3));
    deliver(&home, &[(&one.0, &one.1), (&two.0, &two.1), (&three.0, &three.1)]);
    deliver(&home, &[(&label, LABEL.as_bytes()), ("00000002.history", HISTORY.as_bytes())]);
    deliver(&home, &[(&partial, &segment(&name(4), 7))]);
    home.keep();
    Case::of(home, &["archive-wal", "main"])
}

/// Segments and a history, of which one is archived already, and nobody can tell what was encrypted.
pub(super) fn encrypting() -> Case {
    let home = KeptHome::encrypted();
    archive(&home, [1]);
    let [one, two] = [1, 2].map(|number| (name(number), segment(&name(number), 7)));
    deliver(&home, &[(&one.0, &one.1), (&two.0, &two.1), ("00000002.history", HISTORY.as_bytes())]);
    home.keep();
    Case::of(home, &["archive-wal", "main"])
}

/// Two segments of which one is archived with other contents and one is another than its name says; one that comes late; and no
/// WAL at all.
pub(super) fn refusing() -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, [1, 4]);
    deliver(&home, &[(&name(1), &segment(&name(1), 8)), (&name(2), &segment(&name(5), 7))]);
    deliver(&home, &[(&name(3), &segment(&name(3), 7)), ("notes.txt", b"no WAL")]);
    home.keep();
    Case { refuses: true, ..Case::of(home, &["archive-wal", "main"]) }
}

/// WAL of a cluster in the place of another one. The home has WAL and a backup of the one before, and knows of no
/// other.
pub(super) fn accepting(server: &Postgres) -> Case {
    let home = KeptHome::of_server(&server.conninfo(), &[]);
    let before = WalBuilder::layout(size(), 8192);
    home.write("identity.json", format!("{{\"systemid\": \"{}\", \"version\": \"14\"}}\n", before.system_id));
    archive(&home, [1, 2]);
    backup(&home, ONE, 1, |info| info.systemid = Some(before.system_id));
    let system = server.psql("select system_identifier from pg_control_system()").parse().expect("an identifier");
    let now = WalLayout { system_id: system, ..before };
    for name in [11, 12].map(name) {
        deliver(&home, &[(&name, &segment_of(now, &name, 7))]);
    }
    home.keep();
    Case::of(home, &["archive-wal", "--accept-new-system", "main"])
}

/// Files as `barman-wal-archive` sends them: a tar archive, beside the home.
fn sent(home: &KeptHome, files: &[(&str, &[u8])]) -> PathBuf {
    let directory = home.path().with_file_name("sent");
    std::fs::create_dir(&directory).expect("beside the home");
    for (name, bytes) in files {
        std::fs::write(directory.join(name), bytes).expect("it is ours");
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let sums = Command::new("sha256sum").arg("-b").args(&names).current_dir(&directory).succeed();
    std::fs::write(directory.join("SHA256SUMS"), sums).expect("it is ours");
    let tar = directory.with_extension("tar");
    let mut pack = Command::new("tar");
    pack.arg("-cf").arg(&tar).args(&names).arg("SHA256SUMS").current_dir(&directory).succeed();
    tar
}

/// Two segments and a history.
pub(super) fn putting() -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, [1]);
    let [two, three] = [2, 3].map(|number| (name(number), segment(&name(number), 7)));
    let files = [(two.0.as_str(), two.1.as_slice()), (&three.0, &three.1), ("00000002.history", HISTORY.as_bytes())];
    let input = Some(sent(&home, &files));
    home.keep();
    Case { input, ..Case::of(home, &["put-wal", "main"]) }
}

/// A segment that is archived with other contents, which PostgreSQL is told of once.
pub(super) fn putting_another() -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, [1]);
    let input = Some(sent(&home, &[(&name(1), &segment(&name(1), 8))]));
    home.keep();
    Case { input, refuses: true, ..Case::of(home, &["put-wal", "main"]) }
}

/// An archive of which the index lacks lines and the ledger is spoilt.
pub(super) fn rebuilding(command: &'static str) -> Case {
    let home = KeptHome::new(&[]);
    deliver(&home, &[("00000002.history", HISTORY.as_bytes())]);
    archive(&home, 1..=4);
    if command == "rebuild-xlogdb" {
        let index = std::fs::read_to_string(home.at("wals/main-xlog.db")).expect("there is an index");
        home.write("wals/main-xlog.db", index.lines().take(2).map(|line| format!("{line}\n")).collect::<String>());
    } else {
        home.write("ledger/0000000100000000", "no ledger at all, and longer than what one begins with");
    }
    home.keep();
    Case::of(home, &[command, "main"])
}
