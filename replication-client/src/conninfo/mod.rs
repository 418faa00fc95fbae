//! libpq's connection strings: text in, option values out.
//!
//! Mirrors `conninfo_parse` and `conninfo_uri_parse` of PostgreSQL's `fe-connect.c`, quirks included: blanks after the
//! equals sign are skipped even where the value is empty, and a quoted value needs no blank behind it.

mod key_value;
mod option;
mod settings;
mod syntax;
mod uri;

pub(crate) use option::{ConninfoOption, OPTIONS, STARS, shown};
pub(crate) use settings::Settings;
pub use syntax::{ConninfoError, ConninfoProblem};

/// An option as it stands in a connection string: where, its keyword, its value.
struct Assignment {
    position: usize,
    keyword: String,
    value: String,
}

/// Parses a connection string of either form. Where an option occurs twice the last one counts.
pub(crate) fn parse(text: &str) -> Result<Settings, ConninfoError> {
    if let Some(position) = text.find('\0') {
        return Err(ConninfoError::Nul { position });
    }
    let assignments = match uri::without_scheme(text) {
        Some(rest) => uri::parse(text, rest)?,
        None => key_value::parse(text)?,
    };
    let mut settings = Settings::default();
    settings.conceals_hosts = uri::without_scheme(text).is_some_and(uri::has_stray_at_sign);
    for assignment in assignments {
        let (keyword, value) = recognise(assignment, text)?;
        settings.set(keyword, value);
    }
    Ok(settings)
}

/// Finds the option that an assignment in `text` means, and replaces `requiressl`, which libpq still accepts, by what it stands for.
fn recognise(assignment: Assignment, text: &str) -> Result<(&'static str, String), ConninfoError> {
    let Assignment { position, keyword, value } = assignment;
    if keyword == "requiressl" {
        return Ok(("sslmode", requiressl(&value).to_owned()));
    }
    match option::find(&keyword) {
        Some(option) => Ok((option.keyword, value)),
        None => Err(ConninfoError::UnknownOption { name: option::shown_keyword(keyword, position, text), position }),
    }
}

/// Returns the keyword that `name` spells, if there is one.
pub(crate) fn keyword(name: &str) -> Option<&'static str> {
    option::find(name).map(|option| option.keyword)
}

/// What `requiressl` and `PGREQUIRESSL` mean in terms of `sslmode`.
fn requiressl(value: &str) -> &'static str {
    if value.starts_with('1') { "require" } else { "prefer" }
}

#[cfg(test)]
mod tests;
