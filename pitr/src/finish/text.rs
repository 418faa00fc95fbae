//! What becomes of a configuration file once the restored server is on its own.

use serde::Serialize;

use crate::mangle::{MARK, disarmed, must_not_survive};
use crate::plan::GUARD_REMARK;
use crate::setting_line::SettingLine;

/// A line that `finish-restore` changes, or wants looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineChange {
    /// The configuration file, relative to the data directory.
    pub file: String,
    /// The line in the file as it was found, counted from one.
    pub line: usize,
    /// What happens to it.
    pub action: LineAction,
    /// The line: as it was if it is removed or left, else as it becomes.
    pub text: String,
}

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineAction {
    /// It goes.
    Removed,
    /// It is again what it was before the restore.
    Restored,
    /// A setting of an earlier recovery, which the restore took out of use, becomes an ordinary comment.
    Commented,
    /// What the setting was before the restore is noted above it; `ALTER SYSTEM` had dropped that.
    Noted,
    /// A recovery setting that the restore did not write stays.
    Left,
}

impl LineAction {
    /// Whether the file changes.
    #[must_use]
    pub const fn is_change(self) -> bool {
        !matches!(self, Self::Left)
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Its name.
    pub(super) file: &'a str,
    /// The lines that the restore added, without the guard; `None` if nobody noted them, as Barman does not.
    pub(super) written: Option<&'a [String]>,
    /// Whether the restore added lines that keep included files from archiving.
    pub(super) is_guarded: bool,
    /// The file as it was backed up, if that was kept.
    pub(super) original: Option<&'a [u8]>,
}

/// A file without what recovery left.
#[derive(Debug, Default)]
pub(super) struct FinishedText {
    pub(super) text: Vec<u8>,
    pub(super) changes: Vec<LineChange>,
    /// Whether a setting remains that keeps the server from archiving.
    pub(super) archives_nothing: bool,
}

/// The settings that only recovery reads. All of ours are among them.
const RECOVERY: [&str; 2] = ["restore_command", "recovery_end_command"];

/// How the remarks begin that Barman writes above a `restore_command`, and so do we.
const REMARKS: [&str; 2] = ["# The 'barman get-wal' command must", "# The 'barman-wal-restore' command is"];

/// Takes out what the restore wrote; `archive` turns archiving on again as well.
///
/// While archiving stays off, so do the marks that say what it was.
pub(super) fn finish_text(current: &[u8], known: &Known<'_>, archive: bool) -> FinishedText {
    let lines: Vec<&[u8]> = current.split_inclusive(|byte| *byte == b'\n').collect();
    let mut finishing =
        Finishing { known, archive, lines: &lines, finished: FinishedText::default(), mark: Mark::None };
    for (index, line) in lines.iter().enumerate() {
        finishing.take(index, line);
    }
    finishing.finished
}

/// What the lines just before said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// The original of this setting; its replacement follows.
    Original(String),
    /// The replacements that follow are there because of included files.
    Guard,
}

struct Finishing<'a> {
    known: &'a Known<'a>,
    archive: bool,
    lines: &'a [&'a [u8]],
    finished: FinishedText,
    mark: Mark,
}

impl Finishing<'_> {
    fn take(&mut self, index: usize, line: &[u8]) {
        if let Some(marked) = line.strip_prefix(MARK.as_bytes()) {
            return self.take_marked(index, line, marked);
        }
        let setting = SettingLine::parse(line);
        let is_disarmed = disarmed(&setting.key).is_some_and(|value| setting.value() == value.trim_matches('\''));
        let follows_mark = is_disarmed && self.follows_mark(&setting.key);
        if self.mark != Mark::Guard || !is_disarmed {
            self.mark = Mark::None;
        }
        if follows_mark {
            self.take_replacement(index, line);
        } else if is_disarmed {
            self.take_unmarked(index, line, &setting);
        } else if self.is_written(line, &setting) {
            self.remove(index, line);
        } else {
            if is_recovery(&setting.key) && !self.has_original(&setting) {
                self.note(index, LineAction::Left, line);
            }
            self.keep(line);
        }
    }

    fn follows_mark(&self, key: &str) -> bool {
        match &self.mark {
            Mark::None => false,
            Mark::Original(original) => original == key,
            Mark::Guard => true,
        }
    }

    /// A line that the restore commented out, or the remark above the guard.
    fn take_marked(&mut self, index: usize, line: &[u8], marked: &[u8]) {
        let key = SettingLine::parse(marked).key;
        self.mark = Mark::None;
        if disarmed(&key).is_some() {
            if self.archive {
                self.note(index, LineAction::Restored, marked);
                self.keep(marked);
            } else {
                self.keep(line);
            }
            self.mark = Mark::Original(key);
        } else if must_not_survive(&key) {
            let commented = [b"#", marked].concat();
            self.note(index, LineAction::Commented, &commented);
            self.keep(&commented);
        } else if marked.trim_ascii() == GUARD_REMARK.as_bytes() {
            self.mark = Mark::Guard;
            self.take_replacement(index, line);
        } else {
            self.keep(line);
        }
    }

    /// What stands for a setting that decides where WAL goes.
    fn take_replacement(&mut self, index: usize, line: &[u8]) {
        if self.archive {
            self.remove(index, line);
        } else {
            self.finished.archives_nothing = true;
            self.keep(line);
        }
    }

    /// A setting that turns archiving off without a mark: `ALTER SYSTEM` drops comments, or somebody wants it so.
    fn take_unmarked(&mut self, index: usize, line: &[u8], setting: &SettingLine) {
        let original = self.original_line(&setting.key).filter(|original| SettingLine::parse(original) != *setting);
        let mark_is_elsewhere = self.lines.iter().any(|line| {
            line.strip_prefix(MARK.as_bytes()).is_some_and(|marked| SettingLine::parse(marked).key == setting.key)
        });
        match original.filter(|_| !mark_is_elsewhere) {
            Some(original) if self.archive => {
                self.note(index, LineAction::Restored, &original);
                self.keep(&original);
            }
            Some(original) => {
                self.finished.archives_nothing = true;
                let noted = [MARK.as_bytes(), &original].concat();
                self.note(index, LineAction::Noted, &noted);
                self.keep(&noted);
                self.keep(line);
            }
            None if self.archive && self.known.is_guarded => self.remove(index, line),
            None => {
                self.finished.archives_nothing |= self.known.is_guarded;
                self.keep(line);
            }
        }
    }

    /// The line of the original file that counted, with a line break.
    fn original_line(&self, key: &str) -> Option<Vec<u8>> {
        let mut lines = self.known.original?.split(|byte| *byte == b'\n').rev();
        let line = lines.find(|line| SettingLine::parse(line).key == key)?;
        Some([line, b"\n"].concat())
    }

    fn has_original(&self, setting: &SettingLine) -> bool {
        let mut lines = self.known.original.unwrap_or_default().split(|byte| *byte == b'\n').map(SettingLine::parse);
        lines.any(|line| line.key == setting.key && line.value() == setting.value())
    }

    /// Whether the restore wrote this line: its text, or the same setting in other quotes, as `ALTER SYSTEM` writes it.
    fn is_written(&self, line: &[u8], setting: &SettingLine) -> bool {
        let Some(written) = self.known.written else {
            let is_remark = REMARKS.iter().any(|remark| line.starts_with(remark.as_bytes()));
            let is_ours = is_recovery(&setting.key) && self.known.original.is_some() && !self.has_original(setting);
            return is_remark || is_ours;
        };
        let is_this = |text: &String| {
            let other = SettingLine::parse(text.as_bytes());
            match setting.key.as_str() {
                "" => !text.is_empty() && text.as_bytes() == line.trim_ascii_end(),
                key => other.key == key && other.value() == setting.value(),
            }
        };
        written.iter().any(is_this)
    }

    fn remove(&mut self, index: usize, line: &[u8]) {
        let before = index.checked_sub(1).and_then(|before| self.lines.get(before));
        // The empty line by which the restore set its own off.
        if before.is_some_and(|before| *before == b"\n") && self.finished.text.ends_with(b"\n") {
            self.finished.text.pop();
        }
        self.note(index, LineAction::Removed, line);
    }

    fn keep(&mut self, line: &[u8]) {
        self.finished.text.extend_from_slice(line);
    }

    fn note(&mut self, index: usize, action: LineAction, text: &[u8]) {
        let text = String::from_utf8_lossy(text).trim_end().to_owned();
        let file = self.known.file.to_owned();
        self.finished.changes.push(LineChange { file, line: index + 1, action, text });
    }
}

fn is_recovery(key: &str) -> bool {
    RECOVERY.contains(&key) || (must_not_survive(key) && disarmed(key).is_none())
}

#[cfg(test)]
mod tests;
