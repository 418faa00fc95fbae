//! What another host says of itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use barman_storage::{Kind, RelativePath, RemoteHost};

use super::here::system_id;
use super::{Contents, DataFacts, HostFacts, LockFacts, PlaceFacts};
use crate::plan_error::PlanError;
use crate::survey::Found;

/// Prints fields, each with a NUL byte behind it: the user, the servers, and for each place what [`PlaceFacts`] has.
/// What is binary is printed in hexadecimal digits.
const LOOK: &str = r#"
say() { printf '%s\0' "$1"; }
hex() { if [ -f "$1" ]; then head -c 65536 "$1" | od -An -v -tx1 | tr -d ' \n'; else printf '%s' -; fi; printf '\0'; }
say "$(id -u)"
say "$(ls -d /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres 2>/dev/null | tr -cs 0-9 ' ')"
for place; do
    if [ -e "$place" ] && [ ! -d "$place" ]; then echo "$place: Not a directory" >&2; exit 1; fi
    nearest=$place
    while [ ! -d "$nearest" ]; do nearest=$(dirname "$nearest"); done
    say "$nearest"
    may=yes
    if [ ! -w "$nearest" ] || [ ! -x "$nearest" ]; then may=no; fi
    if [ -d "$place" ] && [ ! -r "$place" ]; then may=no; fi
    say $may
    say "$(stat -L -c '%u %d' "$nearest") $(stat -f -c '%a %S' "$nearest")" || exit 1
    say "$(readlink -f "$place")"
    if [ ! -d "$place" ] || [ $may = no ]; then say nothing; continue; fi
    first=$(find "$place/" -mindepth 1 -maxdepth 1 -print -quit) || exit 1
    other=$(find "$place/" -mindepth 1 -maxdepth 1 ! -name '*.barman-restore*' -print -quit) || exit 1
    if [ -z "$first" ]; then say nothing; continue; fi
    if [ -z "$other" ]; then say marker; else say something; fi
    for file in .barman-restore PG_VERSION global/pg_control postmaster.pid; do hex "$place/$file"; done
    process=$(head -n 1 "$place/postmaster.pid" 2>/dev/null | tr -cd 0-9)
    if [ -n "$process" ] && kill -0 "$process" 2>/dev/null; then say yes; else say no; fi
    if [ -n "$process" ]; then say "$(cat /proc/sysvipc/shm 2>/dev/null)"; else say ''; fi
    for link in "$place"/pg_tblspc/*; do
        if [ -L "$link" ]; then say "$(basename "$link")"; say "$(readlink -f "$link")"; fi
    done
    say ''
done
"#;

const LIST: &str = r#"find "$1/" -mindepth 1 -printf '%y\0%s\0%m\0%P\0'"#;

/// Asks for all that is to be known of the host and of places on it.
pub(super) fn ask(host: &RemoteHost, places: &[&Path]) -> Result<HostFacts, PlanError> {
    let arguments: Vec<&OsStr> = places.iter().map(|place| place.as_os_str()).collect();
    let answer = host.run(LOOK, &arguments)?;
    let mut fields = Fields::of(&answer);
    host_facts(&mut fields, places).ok_or(PlanError::UnclearAnswer { field: fields.count })
}

/// Asks for all that is below a directory.
pub(super) fn found_below(host: &RemoteHost, place: &Path) -> Result<Vec<Found>, PlanError> {
    let answer = host.run(LIST, &[place.as_os_str()])?;
    let mut fields = Fields::of(&answer);
    let mut found = Vec::new();
    while let Some(kind) = fields.text() {
        let one = found_one(&kind, &mut fields);
        found.push(one.ok_or(PlanError::UnclearAnswer { field: fields.count })?);
    }
    Ok(found)
}

fn found_one(kind: &str, fields: &mut Fields<'_>) -> Option<Found> {
    let kind = match kind {
        "f" => Kind::File,
        "d" => Kind::Directory,
        "l" => Kind::Symlink,
        _ => Kind::Other,
    };
    let size = fields.number()?;
    let mode = u32::from_str_radix(&fields.text()?, 8).ok()?;
    let path = RelativePath::new(fields.path()?).ok()?;
    let (size, mode) = if kind == Kind::File { (size, mode) } else { (0, 0) };
    Some(Found { path, kind, size, mode })
}

fn host_facts(fields: &mut Fields<'_>, places: &[&Path]) -> Option<HostFacts> {
    let user = fields.number()?;
    let servers = fields.text()?.split_whitespace().filter_map(|major| major.parse().ok()).collect();
    let places = places.iter().map(|place| place_facts(fields, place)).collect::<Option<_>>()?;
    Some(HostFacts { places, user: u32::try_from(user).ok()?, servers })
}

fn place_facts(fields: &mut Fields<'_>, place: &Path) -> Option<PlaceFacts> {
    let nearest = fields.path()?;
    let may_write = fields.flag()?;
    let numbers: Vec<u64> = fields.text()?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [owner, device, blocks, block_bytes] = numbers.as_slice() else { return None };
    let mut facts = PlaceFacts {
        path: place.to_owned(),
        contents: Contents::Nothing,
        marker: None,
        nearest,
        refusal: (!may_write).then(|| io::ErrorKind::PermissionDenied.into()),
        owner: u32::try_from(*owner).ok()?,
        device: *device,
        free: blocks.saturating_mul(*block_bytes),
        real_path: Some(fields.path()?).filter(|path| !path.as_os_str().is_empty()),
        data: DataFacts::default(),
    };
    facts.contents = match fields.text()?.as_str() {
        "nothing" => return Some(facts),
        "marker" => Contents::Marker,
        "something" => Contents::Something,
        _ => return None,
    };
    facts.marker = fields.file()?;
    facts.data = data_facts(fields)?;
    Some(facts)
}

fn data_facts(fields: &mut Fields<'_>) -> Option<DataFacts> {
    let (version, control_file, lock_file) = (fields.file()?, fields.file()?, fields.file()?);
    let (is_alive, shared_memory) = (fields.flag()?, fields.text()?);
    let lock = lock_file.map(|text| {
        let text = String::from_utf8_lossy(&text).into_owned();
        LockFacts { text, is_alive, shared_memory }
    });
    let mut tablespaces = BTreeMap::new();
    loop {
        let name = fields.text()?;
        if name.is_empty() {
            break;
        }
        let place = fields.path()?;
        tablespaces.extend(name.parse().ok().map(|oid: u32| (oid, place)));
    }
    Some(DataFacts {
        has_version: version.is_some(),
        has_control_file: control_file.is_some(),
        system_id: version.zip(control_file).and_then(|(version, file)| system_id(&version, &file)),
        lock,
        tablespaces,
    })
}

/// The fields of an answer, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
    /// How many were taken.
    count: usize,
}

impl<'a> Fields<'a> {
    fn of(answer: &'a [u8]) -> Self {
        Self { rest: answer, count: 0 }
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let (field, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..)?;
        self.count += 1;
        Some(field)
    }

    fn text(&mut self) -> Option<String> {
        self.next().map(|field| String::from_utf8_lossy(field).into_owned())
    }

    fn number(&mut self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.next()? {
            b"yes" => Some(true),
            b"no" => Some(false),
            _ => None,
        }
    }

    fn path(&mut self) -> Option<PathBuf> {
        Some(PathBuf::from(OsString::from_vec(self.next()?.to_vec())))
    }

    /// The contents of a file, if it is there.
    fn file(&mut self) -> Option<Option<Vec<u8>>> {
        match self.next()? {
            b"-" => Some(None),
            digits => digits.chunks(2).map(byte).collect::<Option<_>>().map(Some),
        }
    }
}

/// The byte that two hexadecimal digits stand for.
fn byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?, 16).ok()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files as others leave them")]
mod tests {
    use super::*;
    use crate::host::here;

    /// Runs here what is to run there: the last argument.
    fn host() -> RemoteHost {
        RemoteHost::by_command("sh -c 'for last; do :; done; exec sh -c \"$last\"' ssh").unwrap()
    }

    /// Places of every kind, the first with a data directory's files.
    fn places(root: &Path) -> Vec<PathBuf> {
        let data = root.join("it's a\ndata directory");
        for directory in ["global", "pg_tblspc"] {
            std::fs::create_dir_all(data.join(directory)).unwrap();
        }
        for (file, contents) in [("PG_VERSION", "15\n"), ("global/pg_control", "\0\x01"), ("postmaster.pid", "1\n")] {
            std::fs::write(data.join(file), contents).unwrap();
        }
        let (tablespace, marked) = (root.join("tbs"), root.join("marked"));
        for directory in [&tablespace, &marked, &root.join("empty")] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(marked.join(".barman-restore"), "not a marker").unwrap();
        std::os::unix::fs::symlink(&tablespace, data.join("pg_tblspc/16386")).unwrap();
        vec![data, tablespace, marked, root.join("empty"), root.join("missing/deeper")]
    }

    #[test]
    fn another_host_is_asked_for_what_this_one_is_looked_at_for() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let places: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
        let shown = |mut facts: HostFacts| {
            // What others write meanwhile; and a path that leads nowhere has a name there.
            facts.places.iter_mut().for_each(|place| place.free = 0);
            facts.places.last_mut().unwrap().real_path = None;
            facts.places[0].data.lock.as_mut().unwrap().shared_memory.clear();
            format!("{facts:#?}")
        };
        assert_eq!(shown(ask(&host(), &places).unwrap()), shown(here::look(&places).unwrap()));
        let mut found = found_below(&host(), places[0]).unwrap();
        let mut expected = crate::survey::found_below(&barman_storage::Dir::open(places[0]).unwrap()).unwrap();
        let by_path = |one: &Found| one.path.clone();
        found.sort_by_key(by_path);
        expected.sort_by_key(by_path);
        assert_eq!(found, expected);
    }

    /// Invariant 8: a host may answer anything.
    #[test]
    fn an_answer_that_breaks_off_is_none() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let places: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
        let arguments: Vec<&OsStr> = places.iter().map(|place| place.as_os_str()).collect();
        let answer = host().run(LOOK, &arguments).unwrap();
        for end in 0..answer.len() {
            assert!(host_facts(&mut Fields::of(&answer[..end]), &places).is_none(), "{end}");
        }
        assert!(host_facts(&mut Fields::of(&answer), &places).is_some());
        assert!(host_facts(&mut Fields::of(b"Welcome!\n0\0\0"), &places).is_none());
    }
}
