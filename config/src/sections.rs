//! The sections of all configuration files together, as Barman merges them.

use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, InterpolationError};
use crate::ini::{Document, Entry, Section};
use crate::interpolation::{check_second_pass, interpolate};
use crate::options::GLOBAL_SECTION;
use crate::value::boolean;

/// Every section, in the order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    merged: Vec<Merged>,
}

/// A section and the values that its options have after all files.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) name: String,
    pub(crate) options: Vec<Setting>,
}

/// The text of one option.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) option: String,
    pub(crate) text: String,
    pub(crate) path: Rc<Path>,
    pub(crate) line: usize,
}

impl Sections {
    /// Adds the main file.
    pub(crate) fn add(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        self.merge(&path.into(), &Document::parse(path, text)?, |_, _| Ok(()))
    }

    /// Adds an included file, which may repeat what `[barman]` says but not change it.
    pub(crate) fn include(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        self.merge(&path.into(), &Document::parse(path, text)?, |section, new| {
            let known = section.options.iter().any(|old| old.option == new.option && old.text == new.text);
            if section.name != GLOBAL_SECTION || known {
                return Ok(());
            }
            Err(Error::IncludedGlobal { path: new.path.to_path_buf(), line: new.line, option: new.option.clone() })
        })
    }

    fn merge(
        &mut self,
        path: &Rc<Path>,
        document: &Document,
        allowed: impl Fn(&Merged, &Setting) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for section in &document.sections {
            let merged = self.section(&section.name);
            for entry in &section.entries {
                let setting = first_pass(path, section, entry)?;
                allowed(merged, &setting)?;
                merged.set(setting);
            }
        }
        Ok(())
    }

    #[expect(clippy::indexing_slicing, reason = "the index was found or made just before")]
    fn section(&mut self, name: &str) -> &mut Merged {
        let index = self.merged.iter().position(|section| section.name == name).unwrap_or_else(|| {
            self.merged.push(Merged { name: name.to_owned(), options: Vec::new() });
            self.merged.len() - 1
        });
        &mut self.merged[index]
    }

    /// Resolves every value the second time.
    pub(crate) fn resolve(&self) -> Result<Vec<Merged>, Error> {
        self.merged.iter().map(second_pass).collect()
    }

    /// What every option finally says.
    pub(crate) fn finish(self) -> Result<Vec<Merged>, Error> {
        let mut sections = self.resolve()?;
        sections.iter_mut().flat_map(|section| &mut section.options).for_each(Setting::clean);
        Ok(sections)
    }

    /// What an option of `[barman]` says so far, before files that it names are read.
    pub(crate) fn global(&self, option: &str) -> Result<Option<String>, Error> {
        let Some(section) = self.merged.iter().find(|section| section.name == GLOBAL_SECTION) else { return Ok(None) };
        Ok(second_pass(section)?.get(option).map(|setting| clean(&setting.text).to_owned()))
    }
}

impl Merged {
    pub(crate) fn get(&self, option: &str) -> Option<&Setting> {
        self.options.iter().find(|setting| setting.option == option)
    }

    /// A yes or no without which nothing can be done.
    pub(crate) fn boolean(&self, option: &str) -> Result<Option<bool>, Error> {
        let Some(setting) = self.get(option) else { return Ok(None) };
        boolean(&setting.text).map(Some).ok_or_else(|| setting.refused(&self.name, "true or false"))
    }

    fn set(&mut self, setting: Setting) {
        match self.options.iter_mut().find(|known| known.option == setting.option) {
            Some(known) => *known = setting,
            None => self.options.push(setting),
        }
    }
}

impl Setting {
    fn clean(&mut self) {
        self.text = clean(&self.text).to_owned();
    }

    /// An error that names the place of the option and its value: not for values that may hold passwords.
    pub(crate) fn refused(&self, section: &str, expected: &'static str) -> Error {
        Error::InvalidValue {
            path: self.path.to_path_buf(),
            line: self.line,
            section: section.to_owned(),
            option: self.option.clone(),
            expected,
            found: self.text.clone(),
        }
    }

    fn unresolved(&self, section: &str, source: InterpolationError) -> Error {
        Error::Interpolation {
            path: self.path.to_path_buf(),
            line: self.line,
            section: section.to_owned(),
            option: self.option.clone(),
            source,
        }
    }
}

fn first_pass(path: &Rc<Path>, section: &Section, entry: &Entry) -> Result<Setting, Error> {
    let lookup = |name: &str| section.get(name).map(|entry| entry.value.as_str());
    let raw = Setting { option: entry.key.clone(), text: String::new(), path: Rc::clone(path), line: entry.line };
    let text = interpolate(&entry.value, &lookup).and_then(|text| check_second_pass(&text).map(|()| text));
    match text {
        Ok(text) => Ok(Setting { text, ..raw }),
        Err(source) => Err(raw.unresolved(&section.name, source)),
    }
}

fn second_pass(section: &Merged) -> Result<Merged, Error> {
    let lookup = |name: &str| section.get(name).map(|setting| setting.text.as_str());
    let resolve = |setting: &Setting| match interpolate(&setting.text, &lookup) {
        Ok(text) => Ok(Setting { text, ..setting.clone() }),
        Err(source) => Err(setting.unresolved(&section.name, source)),
    };
    let options = section.options.iter().map(resolve).collect::<Result<_, _>>()?;
    Ok(Merged { name: section.name.clone(), options })
}

/// `None` means nothing, and one pair of quotes around a single line is not part of it.
fn clean(text: &str) -> &str {
    if text == "None" {
        return "";
    }
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    if text.contains('\n') {
        return text;
    }
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}
