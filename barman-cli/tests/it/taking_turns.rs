//! Barman 3.19.1 and this program taking turns on one home, at random: after every step each lists what the other lists.
//!
//! `BARMAN_TURNS` says how many steps: 12 by default, 200 in `scripts/crash`. `BARMAN_TURNS_SEED` says which. The same with WAL
//! and backups encrypted; we do not make encrypted backups yet, so those are all Barman's.

use crate::crash::archiving_scene;
use crate::encryption::{ENCRYPTED, ENCRYPTED_BACKUPS, make_key};
use crate::scene::{Scene, ours, wait_until};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use test_support::{Barman, CommandExt, Finished};

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Write WAL, deliver it into `incoming/`, and archive it.
    Archive,
    /// Deliver it as `barman-wal-archive` does.
    PutWal,
    Backup,
    /// Delete the backup of this number, modulo how many there are.
    Delete(u64),
    Keep(u64),
    Release(u64),
    Rebuild,
    Cron,
}

/// Numbers that follow from a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn step(&mut self) -> Step {
        match self.below(16) {
            0..4 => Step::Archive,
            4..6 => Step::PutWal,
            6..9 => Step::Backup,
            9 => Step::Delete(self.below(100)),
            10..12 => Step::Keep(self.below(100)),
            12 => Step::Release(self.below(100)),
            13 => Step::Rebuild,
            _ => Step::Cron,
        }
    }
}

/// One home, two programs.
struct Turns<'a> {
    scene: &'a Scene,
    /// What the server has archived.
    kept: &'a Path,
    delivered: BTreeSet<String>,
    /// Who takes all backups; `None` if whose turn it is does.
    backs_up: Option<Barman>,
}

impl Turns<'_> {
    fn run(&self, tool: &Barman, arguments: &[&str]) -> Finished {
        let finished = tool.run(&self.scene.home, arguments);
        self.wait_for_cron();
        finished
    }

    /// Whatever the step does not apply to it leaves alone.
    fn take(&mut self, step: Step, tool: &Barman) {
        let backups = self.backups();
        let of =
            |number: u64| usize::try_from(number).ok().and_then(|number| backups.get(number % backups.len().max(1)));
        match step {
            Step::Archive => self.archive(tool),
            Step::PutWal => self.put(tool),
            Step::Backup => self.back_up(tool),
            Step::Delete(number) if backups.len() > 1 => {
                if let Some(id) = of(number).filter(|id| !self.is_kept(id)) {
                    self.succeed(tool, &["delete", "main", id]);
                }
            }
            Step::Keep(number) => {
                if let Some(id) = of(number).filter(|id| self.is_done(id)) {
                    let target = if number % 2 == 0 { "full" } else { "standalone" };
                    self.succeed(tool, &["keep", "--target", target, "main", id]);
                }
            }
            Step::Release(number) => {
                if let Some(id) = of(number).filter(|id| self.is_kept(id)) {
                    self.succeed(tool, &["keep", "--release", "main", id]);
                }
            }
            Step::Rebuild => self.succeed(tool, &["rebuild-xlogdb", "main"]),
            Step::Cron => self.succeed(tool, &["cron"]),
            Step::Delete(_) => {}
        }
    }

    fn succeed(&self, tool: &Barman, arguments: &[&str]) {
        let finished = self.run(tool, arguments);
        assert_eq!(finished.code, Some(0), "{tool:?} {arguments:?}: {finished:?}");
    }

    fn archive(&mut self, tool: &Barman) {
        let incoming = self.scene.home.path().join("main/incoming");
        for name in self.new_files() {
            // As a careful archive_command delivers.
            let temporary = incoming.join(format!(".{name}.tmp"));
            std::fs::copy(self.kept.join(&name), &temporary).expect("the home is ours");
            std::fs::rename(temporary, incoming.join(&name)).expect("the home is ours");
        }
        self.succeed(tool, &["archive-wal", "main"]);
    }

    fn put(&mut self, tool: &Barman) {
        let names: Vec<String> = self.new_files().into_iter().collect();
        if names.is_empty() {
            return;
        }
        let sums = Command::new("sha256sum").arg("-b").args(&names).current_dir(self.kept).succeed();
        let directory = self.scene.home.path().with_file_name("sent");
        std::fs::create_dir_all(&directory).expect("beside the home");
        std::fs::write(directory.join("SHA256SUMS"), sums).expect("beside the home");
        let tar = directory.join("sent.tar");
        let mut pack = Command::new("tar");
        pack.arg("-cf").arg(&tar).arg("-C").arg(self.kept).args(&names).arg("-C").arg(&directory).arg("SHA256SUMS");
        pack.succeed();
        let mut put = tool.command(&self.scene.home);
        let input = std::fs::File::open(tar).expect("it was just made");
        let put = put.args(["put-wal", "main"]).stdin(input).output().expect("it can be started");
        assert!(put.status.success(), "{tool:?}: {put:?}");
    }

    /// Switches the segment, and returns what the server has archived since the last delivery.
    fn new_files(&mut self) -> BTreeSet<String> {
        self.scene.server.psql("select pg_logical_emit_message(false, 'test', 'x')");
        let last = self.scene.server.switch_wal();
        self.scene.server.wait_until(&format!("select last_archived_wal >= '{last}' from pg_stat_archiver"));
        let entries = std::fs::read_dir(self.kept).expect("the server writes there");
        let names =
            entries.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("a WAL file"));
        let new: BTreeSet<String> = names.filter(|name| !self.delivered.contains(name)).collect();
        self.delivered.extend(new.iter().cloned());
        new
    }

    fn back_up(&mut self, tool: &Barman) {
        self.succeed(self.backs_up.as_ref().unwrap_or(tool), &["backup", "--immediate-checkpoint", "main"]);
        // Ids have a resolution of one second, and Barman's backup does not look whether one is taken.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        std::thread::sleep(Duration::from_millis(1050 - u64::from(now.subsec_millis())));
    }

    /// As we list them: after each step Barman lists the same, and takes longer.
    fn backups(&self) -> Vec<String> {
        let listed = ours().succeed(&self.scene.home, &["list-backups", "--minimal", "main"]);
        listed.lines().map(str::to_owned).collect()
    }

    fn is_kept(&self, id: &str) -> bool {
        self.scene.home.path().join(format!("main/meta/{id}-keep")).exists()
            || self.scene.home.path().join(format!("main/base/{id}/annotations/keep")).exists()
    }

    fn is_done(&self, id: &str) -> bool {
        let record = self.scene.home.path().join(format!("main/meta/{id}-backup.info"));
        std::fs::read_to_string(record).is_ok_and(|text| text.contains("status=DONE"))
    }

    fn assert_both_list_the_same(&self, when: &str) {
        let theirs = Barman::reference();
        let mut commands = vec![vec!["list-backups", "main"]];
        if !self.backups().is_empty() {
            commands.push(vec!["show-backup", "main", "latest"]);
        }
        for command in commands {
            let (theirs, ours) = (self.run(&theirs, &command), self.run(&ours(), &command));
            assert_eq!(
                (theirs.code, &theirs.stdout),
                (ours.code, &ours.stdout),
                "{when}: {command:?}\n{theirs:?}\n{ours:?}"
            );
        }
    }

    /// Each `cron` starts processes that have the configuration among their arguments.
    fn wait_for_cron(&self) {
        let configuration = self.scene.home.config_file();
        let configuration = configuration.to_str().expect("the path is text");
        let is_ours = |line: Vec<u8>| String::from_utf8_lossy(&line).contains(configuration);
        let running = || {
            let entries = std::fs::read_dir("/proc").expect("Linux has it");
            entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok()).any(is_ours)
        };
        wait_until("what cron started has ended", || !running());
    }
}

fn take_turns(scene: &Scene, kept: &Path, backs_up: Option<Barman>, default_turns: u64) {
    // `check` makes the directories; it fails because nothing is delivered yet.
    ours().run(&scene.home, &["check", "--check-timeout", "1", "main"]);
    let mut turns = Turns { scene, kept, delivered: BTreeSet::new(), backs_up };
    turns.archive(&Barman::reference());
    turns.back_up(&ours());
    let seed = number("BARMAN_TURNS_SEED", 1);
    let mut dice = Dice(seed);
    for turn in 1..=number("BARMAN_TURNS", default_turns) {
        let step = dice.step();
        let tool = if dice.below(2) == 0 { ours() } else { Barman::reference() };
        turns.take(step, &tool);
        turns.assert_both_list_the_same(&format!("seed {seed}, turn {turn}: {step:?} by {tool:?}"));
    }
    turns.archive(&ours());
    turns.succeed(&ours(), &["cron"]);
    turns.assert_both_list_the_same("in the end");
    turns.succeed(&ours(), &["verify-archive", "--all", "main"]);
}

const OPTIONS: [(&str, &str); 2] = [("archiver", "on"), ("streaming_archiver", "off")];

#[test]
fn each_lists_what_the_other_lists_after_every_step() {
    let (scene, kept) = archiving_scene();
    scene.configure(&scene.server, &OPTIONS);
    take_turns(&scene, kept.path(), None, 12);
}

#[test]
fn each_lists_what_the_other_lists_where_everything_is_encrypted() {
    let (scene, kept) = archiving_scene();
    let _agent = make_key(&scene.home);
    let compressed = [("compression", "gzip")];
    scene.configure(&scene.server, &[&OPTIONS[..], &compressed, &ENCRYPTED, &ENCRYPTED_BACKUPS].concat());
    take_turns(&scene, kept.path(), Some(Barman::reference()), 6);
}
