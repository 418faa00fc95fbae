//! What a query returns.

/// The rows that one statement of a simple query returned, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows: one value per column, `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}
