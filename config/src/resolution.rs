//! From the text of sections to one value per option: server section, then `[barman]`, then the default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::options::{DefaultValue, Kind, OptionSpec, SERVER, is_model_option};
use crate::sections::Merged;
use crate::value::{Parsed, Place, Value, parse};
use crate::warning::{Warning, WarningKind};

/// The value of every option of the table for one server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Values(BTreeMap<&'static str, Value>);

impl fmt::Debug for Values {
    /// Without the values: there are passwords among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Values").finish_non_exhaustive()
    }
}

impl Values {
    /// Resolves the options of `server`, remarking values that do not fit. Options whose default follows from other
    /// options stay absent where nobody sets them.
    pub(crate) fn resolve(server: &Merged, global: &Merged, warnings: &mut Vec<Warning>) -> Self {
        let mut values = BTreeMap::new();
        for option in SERVER {
            let sources = [Some(server), option.inherited.then_some(global)];
            let given = sources.into_iter().flatten().find_map(|section| given(option, section, warnings));
            values.extend(given.or_else(|| default(option, &server.name)).map(|value| (option.name, value)));
        }
        Self(values)
    }

    /// Sets what follows from other options, unless a file set it.
    pub(crate) fn derive(&mut self, option: &'static str, value: Value) {
        self.0.entry(option).or_insert(value);
    }

    /// Replaces a value that turned out to mean something else.
    pub(crate) fn replace(&mut self, option: &'static str, value: Value) {
        self.0.insert(option, value);
    }

    pub(crate) fn get(&self, option: &str) -> &Value {
        debug_assert!(OptionSpec::named(option).is_some(), "no option {option} in the table");
        self.0.get(option).unwrap_or(&Value::Unset)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(option, value)| (*option, value))
    }

    pub(crate) fn is_set(&self, option: &str) -> bool {
        *self.get(option) != Value::Unset
    }

    pub(crate) fn text(&self, option: &str) -> Option<&str> {
        match self.get(option) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn owned_text(&self, option: &str) -> Option<String> {
        self.text(option).map(str::to_owned)
    }

    pub(crate) fn boolean(&self, option: &str) -> bool {
        *self.get(option) == Value::Boolean(true)
    }

    /// A number of things, where zero and below mean no number at all.
    pub(crate) fn positive(&self, option: &str) -> Option<u64> {
        match self.get(option) {
            Value::Integer(count) => u64::try_from(*count).ok().filter(|count| *count > 0),
            _ => None,
        }
    }

    /// The numbers above zero, by name.
    pub(crate) fn rates(&self, option: &str) -> BTreeMap<String, u64> {
        let Value::Rates(rates) = self.get(option) else { return BTreeMap::new() };
        let positive =
            |(name, rate): (&String, &i64)| Some((name.clone(), u64::try_from(*rate).ok().filter(|rate| *rate > 0)?));
        rates.iter().filter_map(positive).collect()
    }

    pub(crate) fn seconds(&self, option: &str) -> Option<Duration> {
        self.positive(option).map(Duration::from_secs)
    }

    pub(crate) fn interval(&self, option: &str) -> Option<Duration> {
        match self.get(option) {
            Value::Interval(interval) => Some(*interval),
            _ => None,
        }
    }

    pub(crate) fn size(&self, option: &str) -> Option<u64> {
        match self.get(option) {
            Value::Size(size) => Some(*size),
            _ => None,
        }
    }

    pub(crate) fn words(&self, option: &str) -> BTreeSet<&'static str> {
        match self.get(option) {
            Value::Words(words) => words.clone(),
            _ => BTreeSet::new(),
        }
    }
}

/// Remarks the values of a model that do not fit. What it would change is not built.
pub(crate) fn remark_invalid(model: &Merged, warnings: &mut Vec<Warning>) {
    for option in SERVER.iter().filter(|option| is_model_option(option.name)) {
        let _ = given(option, model, warnings);
    }
}

/// What `section` says about an option, if it says something valid.
fn given(option: &OptionSpec, section: &Merged, warnings: &mut Vec<Warning>) -> Option<Value> {
    let setting = section.get(option.name)?;
    let place = Place { section: &section.name, option: option.name };
    match parse(option.kind, &setting.text, place) {
        Ok(Parsed::Value(value)) => Some(value),
        Ok(Parsed::Inherit) => None,
        Err(reason) => {
            warnings.push(Warning::console(WarningKind::InvalidValue {
                section: section.name.clone(),
                option: option.name,
                value: setting.text.clone(),
                reason,
            }));
            None
        }
    }
}

fn default(option: &OptionSpec, server: &str) -> Option<Value> {
    let place = Place { section: server, option: option.name };
    match option.default {
        DefaultValue::Unset => Some(Value::Unset),
        DefaultValue::Derived => None,
        DefaultValue::ServerName => Some(Value::Text(server.to_owned())),
        DefaultValue::Is(text) => default_value(option.kind, text, place),
    }
}

fn default_value(kind: Kind, text: &str, place: Place<'_>) -> Option<Value> {
    match parse(kind, text, place) {
        Ok(Parsed::Value(value)) => Some(value),
        Ok(Parsed::Inherit) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_of_the_table_is_a_valid_value() {
        for option in SERVER {
            if let DefaultValue::Is(text) = option.default {
                let place = Place { section: "s", option: option.name };
                assert!(default_value(option.kind, text, place).is_some(), "{}", option.name);
            }
        }
    }
}
