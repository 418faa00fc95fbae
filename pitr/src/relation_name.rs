//! Names of relations: as somebody writes them in SQL, and as catalogs have them.

use std::fmt;
use std::str::FromStr;

/// The name of a relation, as far as somebody gave it: `db.schema.table`, `schema.table` or `table`. As in SQL, what is not
/// in double quotes is taken in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationPattern {
    /// The database; `None` for any.
    pub database: Option<String>,
    /// The schema; `None` for any.
    pub schema: Option<String>,
    /// The relation.
    pub relation: String,
}

impl RelationPattern {
    /// Returns whether a relation has this name. Temporary tables are meant only where their schema is named.
    #[must_use]
    pub fn matches(&self, name: &RelationName) -> bool {
        let any_schema = !name.schema.starts_with("pg_temp_");
        self.relation == name.relation
            && self.schema.as_ref().map_or(any_schema, |schema| *schema == name.schema)
            && self.database.as_ref().is_none_or(|database| *database == name.database)
    }
}

impl fmt::Display for RelationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.database, &self.schema].into_iter().flatten() {
            write!(f, "{}.", quoted(part))?;
        }
        f.write_str(&quoted(&self.relation))
    }
}

impl FromStr for RelationPattern {
    type Err = ParseRelationNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseRelationNameError { text: text.to_owned() };
        let mut parts = identifiers(text).ok_or_else(refused)?;
        let relation = parts.pop().ok_or_else(refused)?;
        let (schema, database) = (parts.pop(), parts.pop());
        if parts.is_empty() { Ok(Self { database, schema, relation }) } else { Err(refused()) }
    }
}

/// The text is no name of a relation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not the name of a relation: expected TABLE, SCHEMA.TABLE or DATABASE.SCHEMA.TABLE")]
pub struct ParseRelationNameError {
    /// What was given.
    pub text: String,
}

/// Splits a name at its dots (`SplitIdentifierString`, `utils/adt/varlena.c`).
fn identifiers(text: &str) -> Option<Vec<String>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let (part, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_identifier(quoted)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (part, behind) = rest.split_at(end);
                (part.to_lowercase(), behind)
            }
        };
        if part.is_empty() || part.contains('\0') {
            return None;
        }
        parts.push(part);
        match behind.strip_prefix('.') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// Reads up to the closing quote; two quotes stand for one.
fn quoted_identifier(text: &str) -> Option<(String, &str)> {
    let (mut part, mut rest) = (String::new(), text);
    loop {
        let (before, behind) = rest.split_once('"')?;
        part.push_str(before);
        match behind.strip_prefix('"') {
            Some(next) => {
                part.push('"');
                rest = next;
            }
            None => return Some((part, behind)),
        }
    }
}

/// The whole name of a relation. Printed as SQL takes it, in quotes where it has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelationName {
    /// The database.
    pub database: String,
    /// The schema.
    pub schema: String,
    /// The relation.
    pub relation: String,
}

impl fmt::Display for RelationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, schema, relation } = self;
        write!(f, "{}.{}.{}", quoted(database), quoted(schema), quoted(relation))
    }
}

fn quoted(name: &str) -> String {
    let is_plain = |(index, c): (usize, char)| c == '_' || c.is_ascii_lowercase() || index > 0 && c.is_ascii_digit();
    if !name.is_empty() && name.char_indices().all(is_plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> Option<(Option<String>, Option<String>, String)> {
        let RelationPattern { database, schema, relation } = text.parse().ok()?;
        Some((database, schema, relation))
    }

    #[test]
    fn names_are_read_as_sql_reads_them() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("Shop.Public.Orders"), Some((some("shop"), some("public"), "orders".to_owned())));
        assert_eq!(parts("public.\"Or.\"\"ders\""), Some((None, some("public"), "Or.\"ders".to_owned())));
        assert_eq!(parts("orders"), Some((None, None, "orders".to_owned())));
        for refused in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "a.b.c.d", "\"\""] {
            assert_eq!(parts(refused), None, "{refused}");
        }
    }

    #[test]
    fn what_is_not_named_may_be_any() {
        let name = RelationName { database: "shop".into(), schema: "public".into(), relation: "t".into() };
        let matches = |text: &str| text.parse::<RelationPattern>().unwrap().matches(&name);
        assert!(matches("t") && matches("public.t") && matches("shop.public.t"));
        let temporary = RelationName { schema: "pg_temp_3".into(), ..name.clone() };
        assert!(!"t".parse::<RelationPattern>().unwrap().matches(&temporary));
        assert!("pg_temp_3.t".parse::<RelationPattern>().unwrap().matches(&temporary));
        assert!(!matches("u") && !matches("other.t") && !matches("other.public.t"));
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_printed(database in "[^\0]{1,8}", schema in "[a-zA-Z.\"]{1,8}", relation in "[^\0]{1,8}") {
            let name = RelationName { database, schema, relation };
            prop_assert!(name.to_string().parse::<RelationPattern>().unwrap().matches(&name));
        }
    }
}
