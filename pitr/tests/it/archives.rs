//! Backups that consist of tar archives, as `pg_basebackup` makes them for Barman's `backup_compression`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use barman_pitr::{RestoreError, RestoreRequest, StopPoint};

use crate::fixture::{BACKUP, Fixture, TABLESPACE, write_file};
use crate::remote::{Ssh, Tree, carried_out, copied, cut_before_its_end, fixture_with_tablespace, made_here, tree};

fn run(command: &mut Command) {
    let status = command.status().expect("the program is installed");
    assert!(status.success(), "{command:?}");
}

/// Puts a directory into an archive and empties it; what `left` names stays.
fn pack(directory: &Path, archive: &Path, left: &str) {
    let entries = std::fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").file_name());
    let mut names: Vec<_> = entries.filter(|name| *name != left && !name.to_string_lossy().contains(".tar")).collect();
    names.sort();
    run(Command::new("tar").arg("--format=ustar").arg("-C").arg(directory).arg("-cf").arg(archive).args(&names));
    run(Command::new("rm").arg("-rf").args(names.iter().map(|name| directory.join(name))));
}

/// Makes archives of the backup, compressed by a program, or not at all.
pub(crate) fn pack_backup(fixture: &Fixture, id: &str, compression: &str) {
    let data = fixture.data_of(id);
    let archives = [("base", data.clone()), ("16386", data.with_file_name(TABLESPACE.to_string()))];
    for (name, directory) in archives {
        let archive = data.join(format!("{name}.tar"));
        pack(&directory, &archive, "backup_manifest");
        if compression != "none" {
            run(Command::new(compression).args(["-q", "--rm"].iter().filter(|_| compression != "gzip")).arg(&archive));
        }
    }
    let id = id.parse().expect("an id");
    let mut info = fixture.catalog.find_backup(&id).expect("the catalog").expect("the backup");
    info.compression = Some(compression.to_owned());
    fixture.catalog.save(&info).expect("a record");
}

/// What a restore made; without the record of the backup, which says what the backup consists of.
pub(crate) fn made(fixture: &Fixture) -> Tree {
    let mut made = tree(&fixture.target());
    made.remove(Path::new("restored/.barman-recover.info"));
    made
}

pub(crate) fn empty_target(fixture: &Fixture) {
    std::fs::remove_dir_all(fixture.target()).expect("directory");
    std::fs::create_dir(fixture.target()).expect("directory");
}

#[test]
fn what_is_in_archives_is_restored_as_what_is_in_files() {
    for compression in ["none", "gzip", "zstd"] {
        let fixture = fixture_with_tablespace();
        let ssh = Ssh::new();
        let request = fixture.request_to(StopPoint::Immediate);
        let mut expected = made_here(&fixture, &request);
        expected.remove(Path::new("restored/.barman-recover.info"));
        pack_backup(&fixture, BACKUP, compression);
        let plan = fixture.plan(&request).expect("a plan");
        assert!(plan.space.iter().all(|space| space.needed >= plan.data_bytes()));
        for request in [request.clone(), ssh.request(&request)] {
            fixture.restored(&request);
            let made = made(&fixture);
            assert_eq!(made.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{compression}");
            assert!(made == expected, "{compression}: permissions or contents differ");
            let over = RestoreRequest { delta: true, ..request };
            write_file(&fixture.destination().join("base/5/16384"), b"A table");
            fixture.restored(&over);
            assert!(self::made(&fixture) == expected, "{compression}: restored over");
            empty_target(&fixture);
        }
    }
}

/// A restore that is interrupted at the last moment has nothing more to send than what it writes itself.
#[test]
fn what_came_out_of_archives_onto_another_host_is_not_sent_again() {
    let fixture = fixture_with_tablespace();
    let ssh = Ssh::new();
    let request = ssh.request(&fixture.request());
    pack_backup(&fixture, BACKUP, "gzip");
    cut_before_its_end(&fixture, &ssh, &request);
    let inode = |path: &str| std::fs::metadata(fixture.destination().join(path)).expect("a file").ino();
    let paths = ["base/5/16384", "global/1262"];
    let sent = paths.map(inode);
    let restored = |request: &RestoreRequest| {
        let (restored, events) = carried_out(&fixture, &fixture.plan(request).expect("a plan"), 0);
        restored.expect("a restore");
        (made(&fixture), copied(&events))
    };
    let (expected, rewritten) = restored(&request);
    let is_original = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "origin");
    let originals = expected.iter().filter(|(path, _)| is_original(path)).map(|(_, (_, text))| text.len());
    assert_eq!(rewritten, (originals.sum::<usize>() + b"the control file".len()) as u64);
    assert_eq!(paths.map(inode), sent);

    // What is of the right length and differs is sent, and nothing else.
    write_file(&fixture.destination().join(paths[0]), b"A table");
    let (made, copied) = restored(&RestoreRequest { delta: true, ..request });
    assert!(made == expected, "another directory");
    assert_eq!((inode(paths[1]), copied), (sent[1], rewritten + b"a table".len() as u64));
}

/// Invariant 4: what is wrong with an archive may only be found at its end.
#[test]
fn an_archive_that_is_not_what_the_manifest_says_leaves_nothing_that_starts() {
    type Spoil = fn(&Path);
    let spoilt: [(&str, Spoil); 4] = [
        ("cannot be read", |archive| {
            let bytes = std::fs::read(archive).expect("an archive");
            std::fs::write(archive, &bytes[..bytes.len() - 9]).expect("an archive");
        }),
        ("lacks base/5/16384", |archive| repack(archive, &["--delete", "base/5/16384"])),
        ("is damaged", |archive| {
            let other = archive.with_file_name("base/5");
            write_file(&other.join("16384"), b"a tablf");
            repack(archive, &["--delete", "base/5/16384"]);
            repack(
                archive,
                &["-C", &archive.parent().expect("a directory").display().to_string(), "-r", "base/5/16384"],
            );
        }),
        ("refused entry", |archive| {
            std::os::unix::fs::symlink("/etc/passwd", archive.with_file_name("link")).expect("a link");
            repack(archive, &["-C", &archive.parent().expect("a directory").display().to_string(), "-r", "link"]);
        }),
    ];
    for (expected, spoil) in spoilt {
        let fixture = fixture_with_tablespace();
        let ssh = Ssh::new();
        pack_backup(&fixture, BACKUP, "gzip");
        spoil(&fixture.data_of(BACKUP).join("base.tar.gz"));
        for request in [fixture.request(), ssh.request(&fixture.request())] {
            let plan = fixture.plan(&request).expect("a plan");
            let (restored, _) = carried_out(&fixture, &plan, 0);
            let error = restored.expect_err("must fail");
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(!matches!(error, RestoreError::Remote(_)), "{error}");
            assert!(!fixture.destination().join("global/pg_control").exists(), "{expected}");
            empty_target(&fixture);
        }
    }
}

/// Changes what is in a compressed archive.
fn repack(archive: &Path, change: &[&str]) {
    run(Command::new("gzip").arg("-d").arg(archive));
    let plain = archive.with_extension("");
    run(Command::new("tar").arg("-f").arg(&plain).args(change));
    run(Command::new("gzip").arg(&plain));
}
