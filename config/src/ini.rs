//! INI text as Python's `configparser.ConfigParser(strict=False)` reads it, without interpolation.
//!
//! An own reader: around the published crate, the strictness, the `[DEFAULT]` section and the line numbers that users
//! need would be more code than the format itself. `python.rs` compares it with Python.

use std::path::Path;

use crate::error::SyntaxError;

/// The name of the section whose options every other section inherits. It is not a section itself.
const DEFAULT_SECTION: &str = "DEFAULT";

/// One configuration file: its sections in the order of their first appearance.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) sections: Vec<Section>,
}

/// `[name]` and its options in the order of their first appearance, those of `[DEFAULT]` last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry>,
}

/// `key = value`; lines of a value are joined by `\n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Where the key stands, from 1.
    pub(crate) line: usize,
}

impl Document {
    /// Reads the whole text.
    ///
    /// # Errors
    /// Options before the first section, or lines that are neither a section, an option, a comment nor a continuation:
    /// the first of them.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, SyntaxError> {
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(lines(text)) {
            reader.line(number, line).map_err(|expected| SyntaxError::new(path, number, line, expected))?;
        }
        Ok(reader.finish())
    }
}

impl Section {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), entries: Vec::new() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Sets a value; a key that is there already keeps its place, as in a Python dictionary.
    pub(crate) fn set(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }
}

/// Lines as Python's text files deliver them: `\n`, `\r\n` and a lone `\r` all end one.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.filter(|text| !text.is_empty())?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let (line, ending) = text.split_at(end);
        rest = ending.strip_prefix("\r\n").or_else(|| ending.get(1..));
        Some(line)
    })
}

/// What `str.isspace` and `\s` mean in Python: Unicode white space and the four ASCII separators.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip` of Python.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    sections: Vec<Section>,
    defaults: Option<Section>,
    place: Place,
    /// Indentation of the last line that was not a continuation; deeper lines continue the option.
    indent: usize,
}

/// Where the next option or continuation belongs.
#[derive(Default, Clone)]
enum Place {
    #[default]
    Nowhere,
    Section(Target),
    Option(Target, String),
}

#[derive(Clone, Copy)]
enum Target {
    Defaults,
    Section(usize),
}

impl Reader {
    /// Takes one line, or says what was expected in its place.
    fn line(&mut self, number: usize, line: &str) -> Result<(), &'static str> {
        let content = strip(line);
        if content.is_empty() {
            self.append("");
            return Ok(());
        }
        if content.starts_with(['#', ';']) {
            return Ok(());
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if indent > self.indent && self.append(content) {
            return Ok(());
        }
        self.indent = indent;
        match section_name(content) {
            Some(name) => self.enter(name),
            None => self.option(number, content)?,
        }
        Ok(())
    }

    /// Adds a line to the value of the current option, if there is one.
    fn append(&mut self, line: &str) -> bool {
        let Place::Option(target, key) = self.place.clone() else { return false };
        let Some(entry) = self.section(target).entries.iter_mut().find(|entry| entry.key == key) else { return false };
        entry.value.push('\n');
        entry.value.push_str(line);
        true
    }

    fn enter(&mut self, name: &str) {
        let known = self.sections.iter().position(|section| section.name == name);
        self.place = Place::Section(match known {
            Some(index) => Target::Section(index),
            None if name == DEFAULT_SECTION => Target::Defaults,
            None => {
                self.sections.push(Section::new(name));
                Target::Section(self.sections.len() - 1)
            }
        });
    }

    fn option(&mut self, number: usize, content: &str) -> Result<(), &'static str> {
        let (Place::Section(target) | Place::Option(target, _)) = self.place else {
            return Err("a section header such as [barman] before the first option");
        };
        let (key, value) = content.split_once(['=', ':']).ok_or("[section], option = value or a comment")?;
        let key = key.trim_end_matches(is_space).to_lowercase();
        if key.is_empty() {
            return Err("the name of an option before the separator");
        }
        let value = strip(value).to_owned();
        self.section(target).set(Entry { key: key.clone(), value, line: number });
        self.place = Place::Option(target, key);
        Ok(())
    }

    fn section(&mut self, target: Target) -> &mut Section {
        let defaults = self.defaults.get_or_insert_with(|| Section::new(DEFAULT_SECTION));
        match target {
            Target::Section(index) => self.sections.get_mut(index).unwrap_or(defaults),
            Target::Defaults => defaults,
        }
    }

    fn finish(mut self) -> Document {
        let mut defaults = self.defaults.take().unwrap_or_else(|| Section::new(DEFAULT_SECTION)).entries;
        defaults.iter_mut().for_each(trim_end);
        for section in &mut self.sections {
            section.entries.iter_mut().for_each(trim_end);
            let missing: Vec<_> = defaults.iter().filter(|entry| section.get(&entry.key).is_none()).cloned().collect();
            section.entries.extend(missing);
        }
        Document { sections: self.sections }
    }
}

/// Blank lines are part of a value only between its lines.
fn trim_end(entry: &mut Entry) {
    entry.value.truncate(entry.value.trim_end_matches(is_space).len());
}

/// `[name]`, blanks inside kept; whatever follows the last bracket is ignored.
fn section_name(content: &str) -> Option<&str> {
    let (name, _) = content.strip_prefix('[')?.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `section.key=value` of every option, blanks made visible.
    fn read(text: &str) -> Vec<String> {
        let document = Document::parse(Path::new("t"), text).unwrap();
        let line = |section: &Section, entry: &Entry| format!("{}.{}={}", section.name, entry.key, entry.value);
        document.sections.iter().flat_map(|s| s.entries.iter().map(move |e| line(s, e))).collect()
    }

    fn refused(text: &str) -> (usize, &'static str) {
        let error = Document::parse(Path::new("t"), text).unwrap_err();
        (error.line, error.expected)
    }

    #[test]
    fn both_separators_and_blanks_around_them() {
        assert_eq!(read("[s]\na=1\nb : 2\nC  =  3 = 4\nd:=5\ne ="), ["s.a=1", "s.b=2", "s.c=3 = 4", "s.d==5", "s.e="]);
    }

    #[test]
    fn comments_fill_whole_lines_only() {
        assert_eq!(read("# x\n[s]\n  ; y\na = 1 ; z\n# = 2\nb = # 3"), ["s.a=1 ; z", "s.b=# 3"]);
    }

    #[test]
    fn deeper_lines_continue_the_value_and_comments_between_them_vanish() {
        assert_eq!(read("[s]\na = 1\n  2\n# c\n\n  3\n\n\nb = 4"), ["s.a=1\n2\n\n3", "s.b=4"]);
        assert_eq!(read("[s]\n  a = 1\n  b = 2\n c = 3"), ["s.a=1", "s.b=2", "s.c=3"]);
        assert_eq!(read("[s]\na = 1\n [t]"), ["s.a=1\n[t]"]);
    }

    #[test]
    fn an_indented_line_after_a_header_is_an_option() {
        assert_eq!(read("[s]\n   a = 1"), ["s.a=1"]);
    }

    #[test]
    fn sections_and_options_may_repeat() {
        assert_eq!(read("[s]\na=1\nb=1\n[t]\n[s]\nb=3\na=2\n 4"), ["s.a=2\n4", "s.b=3"]);
    }

    #[test]
    fn defaults_are_inherited_after_own_options() {
        assert_eq!(read("[s]\nb=2\n[DEFAULT]\na=0\nb=0\n[t]"), ["s.b=2", "s.a=0", "t.a=0", "t.b=0"]);
        assert_eq!(read("[default]\na=0\n[t]"), ["default.a=0"]);
    }

    #[test]
    fn section_names_keep_blanks_case_and_brackets() {
        assert_eq!(read("[ S ]\na=1\n[x]]y] z\nb=1"), [" S .a=1", "x]]y.b=1"]);
    }

    #[test]
    fn every_kind_of_line_ending_ends_a_line() {
        assert_eq!(read("[s]\r\na=1\rb=2\n\rc=3\r\n"), ["s.a=1", "s.b=2", "s.c=3"]);
    }

    #[test]
    fn malformed_lines_are_refused_with_their_number() {
        assert_eq!(refused("a=1").0, 1);
        assert_eq!(refused("\u{feff}[s]\n").0, 1);
        assert_eq!(refused("[s]\na\n").0, 2);
        assert_eq!(refused("[s]\n\n[t\n").0, 3);
        assert_eq!(refused("[s]\n[]\n").0, 2);
        assert_eq!(refused("[s]\n = 1\n").0, 2);
    }
}
