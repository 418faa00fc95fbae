//! Manifests of any size, and judged by pg_verifybackup.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::{CommandExt as _, Postgres, TempDir, majors, pg_tool};
use wal_format::{
    ChecksumAlgorithm, Hasher, Manifest, ManifestFile, ManifestItem, ManifestReader, ManifestWriter, SystemId,
};

use crate::incremental::backup;

/// Reads a manifest while it is written.
#[derive(Default)]
struct Reading {
    reader: ManifestReader,
    files: usize,
    bytes: usize,
}

impl Write for Reading {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut input = text;
        while let Some(item) = self.reader.next(&mut input).map_err(io::Error::other)? {
            self.files += usize::from(matches!(item, ManifestItem::File(_)));
        }
        self.bytes += text.len();
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "runs in a process of its own, where another test measures the memory"]
fn a_million_files() {
    let mut hasher = Hasher::new(ChecksumAlgorithm::Sha256);
    hasher.update(b"content");
    let modified = "2026-11-20 18:47:03 GMT".to_owned();
    let mut file = ManifestFile { path: PathBuf::new(), size: 8192, modified, checksum: hasher.finish() };
    let mut writer = ManifestWriter::new(Reading::default(), Some(SystemId::new(1))).unwrap();
    for number in 0..1_000_000 {
        file.path = format!("base/5/{number}").into();
        writer.file(&file).unwrap();
    }
    let read = writer.finish(&[]).unwrap();
    read.reader.finish().unwrap();
    assert_eq!(read.files, 1_000_000);
    println!("read {} MB", read.bytes / 1_000_000);
    print!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
}

#[test]
fn a_million_files_are_written_and_read_in_flat_memory() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let report = command.args(["--exact", "manifest::a_million_files", "--ignored", "--nocapture"]).succeed();
    let number_behind = |word: &str| {
        let behind = report.split(word).nth(1).unwrap_or_else(|| panic!("no {word}: {report}"));
        behind.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    assert!(number_behind("read ") > 190, "MB of text");
    // The most that it ever had, the program itself included.
    assert!(number_behind("VmHWM:") < 20_000, "kB: {report}");
}

/// Every file of a backup, as PostgreSQL's own programs want to see it.
fn files_of(root: &Path, dir: &Path, files: &mut Vec<ManifestFile>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_of(root, &path, files);
            continue;
        }
        let relative = path.strip_prefix(root).unwrap();
        if relative != Path::new("backup_manifest") {
            let content = std::fs::read(&path).unwrap();
            let mut hasher = Hasher::new(ChecksumAlgorithm::Sha384);
            hasher.update(&content);
            let modified = "2026-11-20 18:47:03 GMT".to_owned();
            let size = content.len() as u64;
            files.push(ManifestFile { path: relative.to_owned(), size, modified, checksum: hasher.finish() });
        }
    }
}

fn verify(server: &Postgres, backup: &Path) -> Result<(), String> {
    let mut command = Command::new(pg_tool(server.major(), "pg_verifybackup"));
    let output = command.env("LC_ALL", "C").arg("--no-parse-wal").arg(backup).output().unwrap();
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said()) }
}

/// What a disk or a careless hand may do to a manifest.
fn damages(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let at = |part: &[u8]| text.windows(part.len()).position(|window| window == part).unwrap();
    let mut flipped = text.to_vec();
    flipped[at(b"PG_VERSION")] ^= 1;
    let mut sealed_wrong = text.to_vec();
    let digit = sealed_wrong.len() - 5;
    sealed_wrong[digit] = if sealed_wrong[digit] == b'0' { b'1' } else { b'0' };
    let last_line = at(b"\"Manifest-Checksum\"");
    let mut future = text.to_vec();
    future[at(b"-Version\": ") + 11] = b'9';
    vec![
        ("a flipped bit", flipped),
        ("another checksum", sealed_wrong),
        ("no last line", text[..last_line].to_vec()),
        ("cut in the middle", text[..text.len() / 2].to_vec()),
        ("a line twice", [&text[..last_line], &text[last_line - 4..]].concat()),
        ("a version to come", future),
        ("nothing", Vec::new()),
    ]
}

#[test]
fn pg_verifybackup_accepts_and_refuses_the_same_manifests() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let dir = TempDir::new();
        let backup = backup(&server, dir.path(), "full", &["-X", "none"]);
        let path = backup.join("backup_manifest");
        let theirs = Manifest::parse(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::write(backup.join(std::ffi::OsStr::from_bytes(b"caf\xe9 \"1\"")), b"content").unwrap();

        let mut ours = Manifest { files: Vec::new(), ..theirs };
        files_of(&backup, &backup, &mut ours.files);
        let text = ours.to_string().into_bytes();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(verify(&server, &backup), Ok(()), "{major}");

        for (damage, text) in damages(&text) {
            std::fs::write(&path, &text).unwrap();
            assert!(verify(&server, &backup).is_err(), "{damage} of {major}");
            assert!(Manifest::parse(&text).is_err(), "{damage} of {major}");
        }
    }
}
