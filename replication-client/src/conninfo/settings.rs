//! [`Settings`]: the values of libpq's options, from wherever they come.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::str::FromStr;

use super::option::OPTIONS;
use super::syntax::ConninfoError;
use crate::environment::Environment;
use crate::service_file;

/// Option values by keyword. The keywords are those of [`OPTIONS`].
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, String>,
    /// Whether what is taken for hosts and ports may be pieces of a password.
    pub(super) conceals_hosts: bool,
}

impl Settings {
    /// Sets an option, whether it is set already or not.
    pub(super) fn set(&mut self, keyword: &'static str, value: String) {
        self.values.insert(keyword, value);
    }

    /// Sets an option that is not set yet. One that is set to nothing is.
    pub(crate) fn fill(&mut self, keyword: &'static str, value: &str) {
        if let Entry::Vacant(vacant) = self.values.entry(keyword) {
            vacant.insert(value.to_owned());
        }
    }

    /// Returns the value of an option, unless it is empty, which libpq takes for not given.
    pub(crate) fn given(&self, keyword: &str) -> Option<&str> {
        self.values.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns whether nobody may see hosts and ports, as they may be pieces of a password (invariant 9).
    pub(crate) fn conceals_hosts(&self) -> bool {
        self.conceals_hosts
    }

    /// Fills what the connection string leaves out, as `conninfo_add_defaults` does: from the service file, then from the
    /// environment. Defaults are not filled in here.
    pub(crate) fn complete(&mut self, environment: &Environment) -> Result<(), ConninfoError> {
        self.complete_from_service_file(environment)?;
        for option in OPTIONS {
            if let Some(value) = option.variable.and_then(|variable| environment.variable(variable)) {
                self.fill(option.keyword, value);
            }
        }
        if let Some(value) = environment.variable("PGREQUIRESSL").filter(|value| value.starts_with('1')) {
            self.fill("sslmode", super::requiressl(value));
        }
        // Whoever trusts all authorities of the world must at least see the right name.
        if self.given("sslrootcert") == Some("system") {
            self.fill("sslmode", "verify-full");
        }
        Ok(())
    }

    fn complete_from_service_file(&mut self, environment: &Environment) -> Result<(), ConninfoError> {
        let option =
            |keyword, variable| self.values.get(keyword).map(String::as_str).or(environment.variable(variable));
        let Some(service) = option("service", "PGSERVICE") else { return Ok(()) };
        let file = option("servicefile", "PGSERVICEFILE");
        for (keyword, value) in service_file::lookup(service, file, environment)? {
            self.fill(keyword, &value);
        }
        Ok(())
    }

    /// Checks the options whose values are words.
    pub(crate) fn check(&self) -> Result<(), ConninfoError> {
        OPTIONS.iter().try_for_each(|option| self.given(option.keyword).map_or(Ok(()), |value| option.check(value)))
    }

    /// Reads a number, with blanks around it, as `parse_int_param` does.
    pub(crate) fn whole_number(&self, keyword: &'static str) -> Result<Option<i32>, ConninfoError> {
        let number = self.given(keyword).map(|value| value.trim().parse());
        number.transpose().map_err(|_| ConninfoError::InvalidValue { option: keyword, expected: "a whole number" })
    }

    /// Reads one item of a comma-separated list, `None` where it is empty.
    pub(crate) fn item<T: FromStr>(
        text: &str,
        option: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, ConninfoError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| ConninfoError::InvalidValue { option, expected })
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(keyword, value)| (*keyword, value.as_str()))
    }
}
