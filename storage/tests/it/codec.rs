//! The codecs against the programs that users have: each reads what the other writes. And programs as codecs.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use barman_storage::codec::{
    Algorithm, Compression, Decoder, FilterWriter, Format, Gpg, Level, ProgramFailed, ShellFilter,
};
use tempfile::TempDir;

use crate::contents;

/// More than all buffers and pipes on the way hold, in lines that compress.
fn long_text() -> Vec<u8> {
    (0..80_000u64).flat_map(|line| format!("{} {}\n", line % 1009, line * line % 977).into_bytes()).collect()
}

/// What a program makes of `input`.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads all"));
        child.wait_with_output().expect("it ends")
    });
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

fn compressed(algorithm: &str, level: Level, contents: &[u8]) -> Vec<u8> {
    let compression = Compression { algorithm: algorithm.parse().expect("a name"), level };
    let mut encoder = compression.encoder(Vec::new(), Some(contents.len() as u64)).expect("an encoder");
    encoder.write_all(contents).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn read(mut reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map(|_| bytes)
}

#[test]
fn the_tools_read_what_is_written_and_write_what_is_read() {
    let contents = long_text();
    for (algorithm, tool) in [
        ("gzip", "gzip"),
        ("pygzip", "gzip"),
        ("pigz", "gzip"),
        ("bzip2", "bzip2"),
        ("pybzip2", "bzip2"),
        ("xz", "xz"),
        ("zstd", "zstd"),
        ("lz4", "lz4"),
    ] {
        for level in [Level::Low, Level::Medium] {
            let ours = compressed(algorithm, level, &contents);
            assert!(through(tool, &["-dc"], &ours) == contents, "{tool} reads {algorithm} {level:?}");
        }
        let format = algorithm.parse::<Algorithm>().expect("a name").format();
        let theirs = [through(tool, &["-c"], &contents), through(tool, &["-1c"], b" and more")].concat();
        let mut expected = contents.clone();
        expected.extend(b" and more");
        assert!(read(Decoder::new(format, theirs.as_slice()).unwrap()).unwrap() == expected, "{tool}");
    }
}

#[test]
fn python_writes_snappy_that_is_read() {
    let stored = include_bytes!("../../testdata/lines.snappy");
    let expected: String = (0..40).map(|line| format!("line {line}\n")).collect();
    assert_eq!(Format::detect(stored), Some(Format::Snappy));
    assert_eq!(read(Decoder::new(Format::Snappy, &stored[..]).unwrap()).unwrap(), expected.as_bytes());
}

#[test]
fn frames_of_zstd_and_lz4_end_with_a_checksum() {
    let contents = contents(10_000, 0);
    for (algorithm, tool) in [("zstd", "zstd"), ("lz4", "lz4")] {
        let mut stored = compressed(algorithm, Level::Medium, &contents);
        let last = stored.len() - 1;
        stored[last] ^= 1;
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("file");
        std::fs::write(&file, &stored).expect("write");
        let tested = Command::new(tool).arg("-t").arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&tested.stderr).into_owned();
        assert!(!tested.status.success() && said.to_lowercase().contains("checksum"), "{tool}: {said}");
    }
}

#[test]
fn a_filter_works_on_what_is_longer_than_its_pipes() {
    let contents = long_text();
    let filter = ShellFilter::new("gzip -c | cat");
    let mut writer = filter.writer(Vec::new()).expect("a shell");
    writer.write_all(&contents).expect("it reads all");
    let stored = writer.finish().expect("it ends well");
    assert!(read(Decoder::new(Format::Gzip, stored.as_slice()).unwrap()).unwrap() == contents);
    let reader = ShellFilter::new("gzip -dc").reader(stored.as_slice()).expect("a shell");
    assert!(read(reader).unwrap() == contents);
}

#[test]
fn a_filter_that_fails_is_an_error_with_what_it_said() {
    let failing = ShellFilter::new("cat; echo no such luck >&2; exit 3");
    let mut writer = failing.writer(Vec::new()).expect("a shell");
    writer.write_all(b"contents").expect("it reads");
    let refused =
        [writer.finish().expect_err("it fails"), read(failing.reader(&b"contents"[..]).unwrap()).expect_err("so")];
    for error in refused {
        let failed = error.get_ref().and_then(|inner| inner.downcast_ref::<ProgramFailed>()).expect("a program failed");
        assert_eq!((failed.status.code(), failed.errors.trim()), (Some(3), "no such luck"));
        assert!(failed.to_string().contains("no such luck"), "{failed}");
    }
}

#[test]
fn a_filter_that_leaves_input_unread_is_an_error() {
    let contents = long_text();
    let lazy = ShellFilter::new("head -c 10");
    assert!(read(lazy.reader(contents.as_slice()).unwrap()).is_err());
    let mut writer = lazy.writer(Vec::new()).expect("a shell");
    let written = writer.write_all(&contents);
    assert!(written.is_err() || writer.finish().is_err());
}

#[test]
fn a_filter_that_is_not_needed_any_more_ends() {
    let contents = long_text();
    let mut reader = ShellFilter::new("cat; exec sleep 1000").reader(contents.as_slice()).expect("a shell");
    reader.read_exact(&mut [0; 10]).expect("it writes");
    let begun = std::time::Instant::now();
    drop(reader);
    assert!(begun.elapsed().as_secs() < 100);
}

/// A directory with the key `wal@example`, whose passphrase is `correct`.
fn keyring() -> (TempDir, Gpg) {
    let home = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().expect("directory");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(home.path()).args(["--quiet", "--batch", "--pinentry-mode", "loopback"]);
        let ran = command.args(["--passphrase", "correct"]).args(arguments).output().expect("gpg runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    run(&["--import", &format!("{testdata}/wal@example.asc")]);
    run(&["--import-ownertrust", &format!("{testdata}/ownertrust")]);
    // The agent remembers the passphrase.
    end_agent(&home);
    let gpg = Gpg::with_home(home.path());
    (home, gpg)
}

fn end_agent(home: &TempDir) {
    let ended = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status();
    assert!(ended.expect("gpgconf runs").success());
}

#[test]
fn gpg_decrypts_what_it_encrypted_and_nothing_else() {
    let (home, gpg) = keyring();
    let contents = long_text();
    let mut writer = gpg.writer("wal@example", Vec::new()).expect("gpg runs");
    writer.write_all(&contents).expect("it reads all");
    let mut stored = writer.finish().expect("it ends well");
    let file = home.path().join("stored");
    let decrypt = |stored: &[u8], passphrase: &str| {
        std::fs::write(&file, stored).expect("write");
        read(gpg.reader(File::open(&file).expect("open"), passphrase.into()).expect("gpg runs"))
    };
    let error = decrypt(&stored, "wrong").expect_err("the passphrase is wrong");
    assert!(error.to_string().contains("decryption failed"), "{error}");
    assert!(decrypt(&stored, "correct\n").unwrap() == contents);
    assert!(decrypt(&stored[..stored.len() - 1], "correct").is_err(), "cut short");
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    assert!(decrypt(&stored, "correct").is_err(), "changed");
    let unknown = gpg.writer("nobody@example", Vec::new()).and_then(FilterWriter::finish).expect_err("no such key");
    assert!(unknown.to_string().contains("nobody@example"), "{unknown}");
    end_agent(&home);
}

/// The archiver does as many files at a time as fit into the memory that it may have. Each codec is measured in a process of its
/// own: what one has freed, the next would get.
#[test]
fn compressing_takes_no_more_memory_than_is_said() {
    const CHOICE: &str = "COMPRESSION_TO_MEASURE";
    const MIB: u64 = 1 << 20;
    if let Ok(choice) = std::env::var(CHOICE) {
        let (algorithm, length) = choice.split_once(' ').expect("two words");
        println!("\n{}", memory_taken(algorithm, length.parse().expect("a number")));
        return;
    }
    let choices =
        Algorithm::ALL.into_iter().flat_map(|algorithm| [16 * MIB, 64 * MIB].map(|length| (algorithm, length)));
    for (algorithm, length) in choices {
        let own_name = "codec::compressing_takes_no_more_memory_than_is_said";
        let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
        command.args([own_name, "--exact", "--nocapture"]).env(CHOICE, format!("{algorithm} {length}"));
        let output = String::from_utf8(command.output().expect("it runs").stdout).expect("text");
        let taken = output.lines().find_map(|line| line.parse::<u64>().ok()).expect("a number");
        let said = at_its_highest_level(algorithm).memory(length);
        assert!(said <= 120 * MIB, "{algorithm} {length}: {said}");
        assert!(taken <= said + 4 * MIB, "{algorithm} {length}: {} of {} MiB", taken / MIB, said / MIB);
    }
}

const fn at_its_highest_level(algorithm: Algorithm) -> Compression {
    Compression { algorithm, level: Level::Number(i32::MAX) }
}

/// By how many bytes this process grows at most while it compresses contents of a length.
fn memory_taken(algorithm: &str, length: usize) -> u64 {
    let before = status_bytes("VmRSS:");
    let compression = at_its_highest_level(algorithm.parse().expect("a name"));
    let mut encoder = compression.encoder(io::sink(), Some(length as u64)).expect("an encoder");
    let mut page = [0; 8192];
    for number in 0..length / page.len() {
        page[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        encoder.write_all(&page).expect("written");
    }
    encoder.finish().expect("written");
    status_bytes("VmHWM:") - before
}

fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let value = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    value.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
