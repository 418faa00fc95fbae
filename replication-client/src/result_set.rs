//! What a query returns.

use std::str::FromStr;

use crate::protocol_error::ProtocolError;

/// The rows that one statement of a simple query returned, as text.
///
/// ```
/// use replication_client::ResultSet;
///
/// # fn example(slots: &ResultSet) -> Result<(), replication_client::ProtocolError> {
/// for slot in slots.iter() {
///     let name = slot.text("slot_name").unwrap_or_default();
///     let pid: Option<i32> = slot.parse("active_pid")?;
///     println!("{name}: {pid:?}");
/// }
/// # Ok(())
/// # }
/// # let (columns, rows) = (vec!["slot_name".into(), "active_pid".into()], vec![vec![Some("a".into()), None]]);
/// # example(&ResultSet { columns, rows }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows: one value per column, `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

impl ResultSet {
    /// Returns the rows, each of which can be asked for its values by the names of their columns.
    pub fn iter(&self) -> impl Iterator<Item = TextRow<'_>> {
        self.rows.iter().map(|values| TextRow { columns: &self.columns, values })
    }
}

/// One row of a [`ResultSet`].
#[derive(Clone, Copy, Debug)]
pub struct TextRow<'a> {
    columns: &'a [String],
    values: &'a [Option<String>],
}

impl<'a> TextRow<'a> {
    /// Returns the value of the first column of this name, or `None` where it is NULL or there is no such column.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&'a str> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.values.get(index)?.as_deref()
    }

    /// Returns what the value of a column spells, or `None` where it is NULL.
    ///
    /// # Errors
    /// There is no such column, or its value is not of this type.
    pub fn parse<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, ProtocolError> {
        if !self.columns.iter().any(|name| name == column) {
            return Err(ProtocolError::MissingField { field: column });
        }
        let invalid = |text: &str| ProtocolError::InvalidField { field: column, found: text.to_owned() };
        self.text(column).map(|text| text.parse().map_err(|_| invalid(text))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_parsed_by_the_names_of_their_columns() {
        let columns = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let set = ResultSet { columns, rows: vec![vec![Some("1".into()), None]] };
        let row = set.iter().next().unwrap();
        assert_eq!((row.text("a"), row.text("b"), row.text("c"), row.text("d")), (Some("1"), None, None, None));
        assert_eq!(row.parse::<u32>("a").unwrap(), Some(1));
        assert_eq!(row.parse::<u32>("b").unwrap(), None);
        let missing = row.parse::<u32>("d").unwrap_err();
        assert!(matches!(missing, ProtocolError::MissingField { field: "d" }), "{missing}");
        let invalid = row.parse::<bool>("a").unwrap_err();
        assert!(matches!(&invalid, ProtocolError::InvalidField { field: "a", found } if found == "1"), "{invalid}");
    }
}
