//! Files that the configuration takes in (`include`): Barman restores them as they were, and so do we. What they say of
//! archiving must not count all the same.

use std::path::Path;

use barman_catalog::BackupInfo;
use barman_storage::{Dir, Error, Kind, RelativePath};

use crate::mangle::{MARK, disarmed, must_not_survive};
use crate::setting_line::SettingLine;

/// The files that a server reads, in this order: the last value of a setting counts.
pub(super) const FILES: [&str; 2] = ["postgresql.conf", LAST_FILE];

/// The file that is read behind all others, whatever they take in.
pub(super) const LAST_FILE: &str = "postgresql.auto.conf";

/// Longer than any configuration file; a bound for what is read.
pub(super) const LONGEST_FILE_BYTES: u64 = 64 << 20;

/// How deep files may be nested (`CONF_FILE_MAX_DEPTH`); deeper ones keep the server from starting.
const DEEPEST: usize = 10;

/// A setting of an included file that would not have survived in the main ones: it still says where WAL goes, or where
/// recovery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludedSetting {
    /// The file, relative to the data directory.
    pub file: String,
    /// The line in it, counted from zero.
    pub line: usize,
    /// The setting, in lower case.
    pub key: String,
    /// Whether what the restore adds to `postgresql.auto.conf` overrides it.
    pub is_overridden: bool,
}

/// Returns what such settings the included files below the data directory have.
pub(super) fn included_settings(data: &Dir) -> Result<Vec<IncludedSetting>, Error> {
    let mut found = Vec::new();
    for name in FILES {
        collect(data, &RelativePath::literal(name), 0, &mut found)?;
    }
    Ok(found)
}

fn collect(data: &Dir, file: &RelativePath, depth: usize, found: &mut Vec<IncludedSetting>) -> Result<(), Error> {
    let Some(text) = read_file(data, file)? else { return Ok(()) };
    for (number, line) in text.split(|byte| *byte == b'\n').map(SettingLine::parse).enumerate() {
        if depth > 0 && must_not_survive(&line.key) {
            let is_overridden = disarmed(&line.key).is_some();
            found.push(IncludedSetting { file: file.to_string(), line: number, key: line.key, is_overridden });
        } else if depth < DEEPEST {
            for included in taken_in(data, file, &line)? {
                collect(data, &included, depth + 1, found)?;
            }
        }
    }
    Ok(())
}

/// Only regular files: whatever else has that name is the server's problem.
pub(super) fn read_file(data: &Dir, file: &RelativePath) -> Result<Option<Vec<u8>>, Error> {
    match data.stat(file)? {
        Some(stat) if stat.kind == Kind::File => data.read(file, LONGEST_FILE_BYTES),
        _ => Ok(None),
    }
}

/// Returns the files below the data directory that a line takes in, in the server's order. Others are not in the backup.
fn taken_in(data: &Dir, file: &RelativePath, line: &SettingLine) -> Result<Vec<RelativePath>, Error> {
    let named = |line: &SettingLine| {
        // Relative to the file that says so.
        let value = line.value();
        let plain: std::path::PathBuf = Path::new(&value).components().collect();
        let path = RelativePath::new(plain.strip_prefix("./").unwrap_or(&plain)).ok()?;
        Some(file.parent().map_or(path.clone(), |parent| parent.join(&path)))
    };
    match line.key.as_str() {
        "include" | "include_if_exists" => Ok(named(line).into_iter().collect()),
        "include_dir" => named(line).map_or(Ok(Vec::new()), |directory| files_of(data, &directory)),
        _ => Ok(Vec::new()),
    }
}

/// As `GetConfFilesInDir` has it: the names that end in `.conf` and do not begin with a dot.
fn files_of(data: &Dir, directory: &RelativePath) -> Result<Vec<RelativePath>, Error> {
    if data.stat(directory)?.is_none_or(|stat| stat.kind != Kind::Directory) {
        return Ok(Vec::new());
    }
    let is_taken = |name: &[u8]| name.ends_with(b".conf") && !name.starts_with(b".");
    let entries = data.subdir(directory)?.entries()?;
    let taken = entries.iter().filter(|entry| is_taken(entry.name.as_encoded_bytes()));
    Ok(taken.map(|entry| directory.join(&entry.path())).collect())
}

/// Returns the lines that override what included files say of archiving; empty if the configuration includes none.
///
/// Included files may lie outside the data directory, where nobody knows what they say.
///
/// # Errors
/// That of `read`, which reads a file of the configuration.
pub(crate) fn guard<E>(
    info: &BackupInfo,
    mut read: impl FnMut(&RelativePath) -> Result<Option<Vec<u8>>, E>,
) -> Result<String, E> {
    /// The first version that has `archive_library`; an older one would not start with it.
    const ARCHIVE_LIBRARY_SINCE: u32 = 150_000;
    let mut includes = false;
    for name in FILES {
        let text = read(&RelativePath::literal(name))?.unwrap_or_default();
        includes |= text.split(|byte| *byte == b'\n').any(|line| SettingLine::parse(line).key.starts_with("include"));
    }
    if !includes {
        return Ok(String::new());
    }
    let keys = ["archive_command", "archive_library"];
    let known = if info.version.is_some_and(|version| version >= ARCHIVE_LIBRARY_SINCE) { 2 } else { 1 };
    let lines = keys.iter().take(known).filter_map(|key| Some(format!("{key} = {}\n", disarmed(key)?)));
    Ok(format!("{MARK} {GUARD_REMARK}\n{}", lines.collect::<String>()))
}

/// What stands above these lines, behind the mark.
pub(crate) const GUARD_REMARK: &str = "whatever included files say, nothing is archived";

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files as others leave them")]
mod tests {
    use super::*;

    fn data(files: &[(&str, &str)]) -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let dir = Dir::open(place.path()).unwrap();
        (place, dir)
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let (_place, dir) = data(files);
        let found = included_settings(&dir).unwrap().into_iter();
        found.map(|one| format!("{} {} {} {}", one.file, one.line, one.key, one.is_overridden)).collect()
    }

    #[test]
    fn included_files_are_read_as_the_server_finds_them() {
        let files = [
            ("postgresql.conf", "port = 1\ninclude_dir = 'conf.d'\nInclude './more/a.conf'\ninclude '/etc/x.conf'\n"),
            ("conf.d/20.conf", "# nothing\nARCHIVE_COMMAND 'x'\n"),
            ("conf.d/10.conf", "recovery_target_time='2020-01-01'\n"),
            ("conf.d/.hidden.conf", "archive_command = 'no'\n"),
            ("conf.d/30.conf.bak", "archive_command = 'no'\n"),
            // Relative to itself.
            ("more/a.conf", "include 'b.conf'\ninclude_if_exists 'gone.conf'\n"),
            ("more/b.conf", "archive_library = 'basic_archive'"),
        ];
        let expected = [
            "conf.d/10.conf 0 recovery_target_time false",
            "conf.d/20.conf 1 archive_command true",
            "more/b.conf 0 archive_library true",
        ];
        assert_eq!(found(&files), expected);
        assert!(found(&[("postgresql.conf", "archive_command = 'x'\n")]).is_empty(), "the main files are changed");
    }

    #[test]
    fn a_file_that_includes_itself_comes_to_an_end() {
        let found =
            found(&[("postgresql.conf", "include 'a.conf'"), ("a.conf", "include 'a.conf'\narchive_command=x")]);
        assert_eq!(found.len(), DEEPEST);
    }

    #[test]
    fn only_who_includes_files_is_guarded_against_them() {
        let guard = |text: &str, version| {
            let mut info = BackupInfo::new("20261120T164417".parse().unwrap(), "main");
            info.version = Some(version);
            let read = |file: &RelativePath| Ok::<_, ()>((file.as_path() == Path::new(FILES[0])).then(|| text.into()));
            guard(&info, read).unwrap()
        };
        assert_eq!(guard("archive_command = 'x'\n#include 'a'\n", 150_000), "");
        let older = "#BARMAN# whatever included files say, nothing is archived\narchive_command = false\n";
        assert_eq!(guard("include_dir 'conf.d'\n", 140_000), older);
        assert_eq!(guard("include '/etc/a.conf'\n", 150_000), format!("{older}archive_library = ''\n"));
    }
}
