//! Restores onto another host. The ssh of these tests runs here what it is to run there; `barman-cli` has tests with a real one.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use barman_pitr::{
    Host, PlanError, RestoreError, RestoreEvent, RestoreOptions, RestorePlan, RestoreReport, RestoreRequest, Standing,
    StopPoint,
};
use barman_storage::RemoteHost;
use tempfile::TempDir;

use crate::fixture::{BACKUP, Fixture, options, tablespace, write_file};

/// A command in place of ssh, which counts its connections and may cut one of them.
pub(crate) struct Ssh(TempDir);

impl Ssh {
    pub(crate) fn new() -> Self {
        let ssh = Self(tempfile::tempdir().expect("temporary directory"));
        let text = r#"
            cd "$(dirname "$0")" && n=$(($(cat count) + 1)) && echo $n >count
            for command; do :; done
            if [ "$n" = "$(cat cut)" ]; then head -c 700 | sh -c "$command"; exit 255; fi
            exec sh -c "$command""#;
        let program = ssh.path("ssh");
        test_support::write_script(&program, text);
        ssh.cut(0);
        ssh
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Cuts this connection, counted from now on and from 1, after some bytes.
    pub(crate) fn cut(&self, number: usize) {
        write_file(&self.path("count"), b"0\n");
        write_file(&self.path("cut"), format!("{number}\n").as_bytes());
    }

    /// How many there were since then.
    pub(crate) fn connections(&self) -> usize {
        let count = std::fs::read_to_string(self.path("count")).expect("a file");
        count.trim().parse().expect("a number")
    }

    fn host(&self) -> Host {
        let command = format!("{} postgres@pg", self.path("ssh").display());
        Host::Remote(RemoteHost::by_command(&command).expect("a command"))
    }

    pub(crate) fn request(&self, request: &RestoreRequest) -> RestoreRequest {
        RestoreRequest { host: self.host(), ..request.clone() }
    }
}

/// One file at a time, so that connections come in order.
fn one_by_one(retries: u32) -> RestoreOptions {
    RestoreOptions { jobs: std::num::NonZeroUsize::MIN, retries, retry_pause: Duration::from_millis(1), ..options() }
}

pub(crate) fn carried_out(
    fixture: &Fixture,
    plan: &RestorePlan,
    retries: u32,
) -> (Result<RestoreReport, RestoreError>, Vec<RestoreEvent>) {
    let events = Mutex::new(Vec::new());
    let note = |event| events.lock().expect("lock").push(event);
    let restored = barman_pitr::restore(&fixture.catalog, plan, &one_by_one(retries), &note);
    (restored, events.into_inner().expect("lock"))
}

/// How many bytes were copied.
pub(crate) fn copied(events: &[RestoreEvent]) -> u64 {
    events.iter().map(|event| if let RestoreEvent::Copied { bytes } = event { *bytes } else { 0 }).sum()
}

/// Restores with a connection that is cut when all is there but the control file.
pub(crate) fn cut_before_its_end(fixture: &Fixture, ssh: &Ssh, request: &RestoreRequest) {
    let plan = fixture.plan(request).expect("a plan");
    ssh.cut(0);
    carried_out(fixture, &plan, 0).0.expect("a restore");
    // The last three make all of it durable, give the control file its name and remove the markers.
    let number = ssh.connections() - 2;
    std::fs::remove_dir_all(fixture.target()).expect("directory");
    std::fs::create_dir(fixture.target()).expect("directory");
    let plan = fixture.plan(request).expect("a plan");
    ssh.cut(number);
    assert!(!is_finished(carried_out(fixture, &plan, 0).0, number));
    ssh.cut(0);
    let standing = fixture.plan(request).expect("a plan").standing;
    assert_eq!(standing, Standing::Interrupted { distrusted: false });
}

/// Returns whether a restore of which this connection was to be cut had fewer; otherwise it failed by the cut, and says so.
pub(crate) fn is_finished(restored: Result<RestoreReport, RestoreError>, cut: usize) -> bool {
    match restored {
        Ok(_) => return true,
        Err(RestoreError::Remote(error)) => assert!(error.is_transient(), "{cut}: {error}"),
        Err(RestoreError::Destination(error)) => assert!(matches!(*error, PlanError::Remote(_)), "{cut}: {error}"),
        Err(error) => panic!("{cut}: {error}"),
    }
    false
}

/// Everything below a directory: permissions, and contents or where a link leads.
pub(crate) type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

pub(crate) fn tree(top: &Path) -> Tree {
    let mut found = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().expect("metadata");
        let contents = if metadata.is_symlink() {
            path.read_link().expect("link").into_os_string().into_encoded_bytes()
        } else if metadata.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("directory").map(|entry| entry.expect("entry").path()));
            Vec::new()
        } else {
            std::fs::read(&path).expect("file")
        };
        found.insert(path.strip_prefix(top).expect("below").to_owned(), (metadata.mode() & 0o7777, contents));
    }
    found
}

/// A backup with a tablespace; whether a restore of it, here or there, is what it should be can be told by the places.
pub(crate) fn fixture_with_tablespace() -> Fixture {
    let fixture = Fixture::new();
    let location = fixture.target().join("tbs1");
    fixture.add_backup(BACKUP, |info| info.tablespaces = Some(vec![tablespace(&location)]));
    fixture.add_wal(1, 4..=7);
    fixture
}

/// What a restore on this host makes, which is then taken away.
pub(crate) fn made_here(fixture: &Fixture, request: &RestoreRequest) -> Tree {
    fixture.restored(request);
    let made = tree(&fixture.target());
    std::fs::remove_dir_all(fixture.target()).expect("directory");
    std::fs::create_dir(fixture.target()).expect("directory");
    made
}

#[test]
fn another_host_gets_exactly_what_this_one_would() {
    let fixture = fixture_with_tablespace();
    let ssh = Ssh::new();
    let staged = fixture.target().join("its wal");
    let outside = barman_pitr::WalSupply::Copy { staging: Some(staged), partial: false };
    for request in [
        fixture.request(),
        fixture.request_to(StopPoint::Immediate),
        RestoreRequest { wal: outside, ..fixture.request_to(StopPoint::Immediate) },
    ] {
        let expected = made_here(&fixture, &request);
        let report = fixture.restored(&ssh.request(&request));
        assert!(!report.changes.is_empty());
        let made = tree(&fixture.target());
        assert_eq!(made.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(made == expected, "permissions or contents differ");
        std::fs::remove_dir_all(fixture.target()).expect("directory");
        std::fs::create_dir(fixture.target()).expect("directory");
    }
}

/// Invariant 4, and 7: wherever the connection breaks, nothing that could be started is left, and the same command goes on.
#[test]
fn a_connection_may_be_cut_at_any_time() {
    let fixture = fixture_with_tablespace();
    let ssh = Ssh::new();
    let (here, there) = (fixture.request(), ssh.request(&fixture.request()));
    let expected = made_here(&fixture, &here);
    let control_file = fixture.destination().join("global/pg_control");
    let mut cuts = 0;
    for number in 1.. {
        let plan = fixture.plan(&there).expect("a plan");
        ssh.cut(number);
        let (restored, _) = carried_out(&fixture, &plan, 0);
        ssh.cut(0);
        if is_finished(restored, number) {
            break;
        }
        cuts += 1;
        if !control_file.exists() {
            let plan = fixture.plan(&there).expect("a plan");
            fixture.restore(&plan).expect("a restore");
        }
        let mut made = tree(&fixture.target());
        made.remove(Path::new("restored/.barman-restore"));
        made.remove(Path::new("tbs1/.barman-restore"));
        assert!(made == expected, "cut at connection {number}");
        std::fs::remove_dir_all(fixture.target()).expect("directory");
        std::fs::create_dir(fixture.target()).expect("directory");
    }
    assert!(cuts >= 10, "{cuts}");
}

#[test]
fn a_lost_connection_is_tried_again() {
    let fixture = fixture_with_tablespace();
    let ssh = Ssh::new();
    let expected = made_here(&fixture, &fixture.request());
    let lost = RestoreEvent::ConnectionLost { pause: Duration::from_millis(1) };
    for number in 1.. {
        let plan = fixture.plan(&ssh.request(&fixture.request())).expect("a plan");
        ssh.cut(number);
        let (restored, events) = carried_out(&fixture, &plan, 1);
        restored.expect("a restore");
        assert!(tree(&fixture.target()) == expected, "cut at connection {number}");
        std::fs::remove_dir_all(fixture.target()).expect("directory");
        std::fs::create_dir(fixture.target()).expect("directory");
        if !events.contains(&lost) {
            assert!(number > 10, "{number} connections");
            break;
        }
    }
}

#[test]
fn what_is_there_as_it_should_be_is_not_sent() {
    let fixture = fixture_with_tablespace();
    let ssh = Ssh::new();
    let request = ssh.request(&fixture.request());
    fixture.restored(&request);
    let destination = fixture.destination();
    let expected = tree(&fixture.target());
    write_file(&destination.join("base/5/16384"), b"A table");
    write_file(&destination.join("base/7/deeper/1"), b"a database");
    write_file(&destination.join("pg_wal/000000010000000000000009"), b"later WAL");
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(destination.join("global/1262"), mode).expect("mode");
    let wal = destination.join("pg_wal/000000010000000000000006");
    let inode = std::fs::metadata(&wal).expect("a file").ino();

    assert!(matches!(fixture.plan(&request), Err(PlanError::DestinationNotEmpty { .. })));
    let plan = fixture.plan(&RestoreRequest { delta: true, ..request }).expect("a plan");
    assert_eq!(plan.standing, Standing::Cluster);
    let (restored, events) = carried_out(&fixture, &plan, 0);
    restored.expect("a restore");
    let configuration = std::fs::metadata(fixture.data_of(BACKUP).join("postgresql.conf")).expect("a file").len();
    let others = b"A table".len() + b"databases".len() + b"the control file".len();
    assert_eq!(copied(&events), configuration + others as u64);
    assert_eq!(std::fs::metadata(&wal).expect("a file").ino(), inode);
    assert!(tree(&fixture.target()) == expected, "another directory");
}

#[test]
fn what_must_not_be_restored_over_there_is_refused() {
    let fixture = fixture_with_tablespace();
    let ssh = Ssh::new();
    let request = ssh.request(&fixture.request());
    let refused = |request: &RestoreRequest| fixture.plan(request).expect_err("must be refused").to_string();
    write_file(&fixture.target().join("tbs1/somebody's"), b"");
    assert!(refused(&request).contains("for tablespace 'tbs1' is not empty"));
    std::fs::remove_dir_all(fixture.target().join("tbs1")).expect("directory");
    write_file(&fixture.destination().join("somebody's"), b"");
    assert!(refused(&request).ends_with("restored is not empty"));
    let delta = RestoreRequest { delta: true, ..request.clone() };
    assert!(refused(&delta).contains("is not a data directory"));
    write_file(&fixture.destination().join("PG_VERSION"), b"15\n");
    let mut server = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
    write_file(&fixture.destination().join("postmaster.pid"), format!("{}\n", server.id()).as_bytes());
    assert!(refused(&delta).contains("a server is running in"));
    server.kill().and_then(|()| server.wait()).expect("a process");
    fixture.plan(&delta).expect("it does not run any more");
    let relative = RestoreRequest { destination: "restored".into(), ..request.clone() };
    assert!(refused(&relative).contains("expected an absolute path"));
    ssh.cut(1);
    assert!(matches!(fixture.plan(&request), Err(PlanError::Remote(error)) if error.is_transient()));
}

/// The checksum is that of the bytes that are sent.
#[test]
fn a_damaged_file_is_found_on_its_way() {
    let fixture = Fixture::with_backup();
    let ssh = Ssh::new();
    write_file(&fixture.data_of(BACKUP).join("base/5/16384"), b"a tablf");
    let plan = fixture.plan(&ssh.request(&fixture.request())).expect("a plan");
    let (restored, _) = carried_out(&fixture, &plan, 3);
    assert!(matches!(restored, Err(RestoreError::Copy(_))), "{restored:?}");
    assert!(!fixture.destination().join("global/pg_control").exists());
}

#[test]
fn what_fails_there_is_said_in_its_own_words() {
    let fixture = Fixture::with_backup();
    let ssh = Ssh::new();
    let plan = fixture.plan(&ssh.request(&fixture.request())).expect("a plan");
    // In place of the directory.
    write_file(&fixture.destination(), b"");
    let (restored, _) = carried_out(&fixture, &plan, 0);
    let error = restored.expect_err("must fail").to_string();
    assert!(error.contains("Not a directory"), "{error}");
}
