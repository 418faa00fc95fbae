//! Simple queries, without I/O: messages in, rows out.

use std::ops::Range;

use bytes::Bytes;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, RowDescriptionBody};

use crate::backend_message::BackendMessage;
use crate::error::ErrorKind;
use crate::protocol_error::ProtocolError;
use crate::result_set::ResultSet;
use crate::server_error::ServerError;

/// The most memory that the results of one query may take, so that no server makes us run out of it.
const LARGEST_RESULT: usize = 64 << 20;
/// What a row or a result takes in memory beside its values, roughly.
const OVERHEAD: usize = 64;

/// The rows of one statement, as the server sent them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<Bytes>>>,
    size: usize,
}

impl Rows {
    pub(crate) fn describe(body: &RowDescriptionBody) -> Result<Self, ProtocolError> {
        let columns = body.fields().map(|field| Ok(field.name().to_owned())).collect();
        let columns: Vec<String> = columns.map_err(|source| ProtocolError::Malformed { tag: 'T', source })?;
        let size = columns.iter().map(|column| OVERHEAD + column.len()).sum();
        Ok(Self { columns, size, ..Self::default() })
    }

    pub(crate) fn push(&mut self, body: &DataRowBody) -> Result<(), ProtocolError> {
        // Copies, because a value that shares a receive buffer keeps all of it.
        let value = |range: Range<usize>| body.buffer().get(range).map(Bytes::copy_from_slice);
        let values = body.ranges().map(|range| Ok(range.and_then(value))).collect();
        let values: Vec<Option<Bytes>> = values.map_err(|source| ProtocolError::Malformed { tag: 'D', source })?;
        self.size += OVERHEAD + body.buffer().len() + size_of_val(values.as_slice());
        self.rows.push(values);
        check_size(self.size)
    }

    /// Returns the rows, each of which can be asked for its values by the names that PostgreSQL gives them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    /// Returns the first row of a command that always returns one.
    pub(crate) fn first(&self, field: &'static str) -> Result<Row<'_>, ProtocolError> {
        self.iter().next().ok_or(ProtocolError::MissingField { field })
    }

    pub(crate) fn into_text(self) -> Result<ResultSet, ProtocolError> {
        let Self { columns, rows, .. } = self;
        let text_row = |values: Vec<Option<Bytes>>| {
            let text =
                |(index, value): (usize, Option<Bytes>)| value.map(|value| text(&columns, index, &value)).transpose();
            values.into_iter().enumerate().map(text).collect()
        };
        let rows = rows.into_iter().map(text_row).collect::<Result<_, _>>()?;
        Ok(ResultSet { columns, rows })
    }
}

fn check_size(size: usize) -> Result<(), ProtocolError> {
    if size > LARGEST_RESULT {
        return Err(ProtocolError::TooMuch { what: "bytes in results", limit: LARGEST_RESULT });
    }
    Ok(())
}

fn text(columns: &[String], index: usize, value: &[u8]) -> Result<String, ProtocolError> {
    let column = || columns.get(index).cloned().unwrap_or_default();
    std::str::from_utf8(value).map(str::to_owned).map_err(|_| ProtocolError::NotUtf8 { column: column() })
}

/// One row of [`Rows`].
pub(crate) struct Row<'a> {
    columns: &'a [String],
    values: &'a [Option<Bytes>],
}

impl Row<'_> {
    /// Returns the bytes of a column, or `None` for NULL.
    ///
    /// # Errors
    /// There is no such column.
    pub(crate) fn bytes(&self, field: &'static str) -> Result<Option<&Bytes>, ProtocolError> {
        let index = self.columns.iter().position(|column| column == field);
        let value = index.and_then(|index| self.values.get(index));
        value.map(Option::as_ref).ok_or(ProtocolError::MissingField { field })
    }

    /// Returns the value of a column, or `None` for NULL.
    ///
    /// # Errors
    /// There is no such column, or `parse` does not recognise its text.
    pub(crate) fn optional<T>(
        &self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ProtocolError> {
        let Some(bytes) = self.bytes(field)? else { return Ok(None) };
        let invalid = || ProtocolError::InvalidField { field, found: String::from_utf8_lossy(bytes).into_owned() };
        std::str::from_utf8(bytes).ok().and_then(parse).map(Some).ok_or_else(invalid)
    }

    /// Returns the value of a column that is never NULL.
    ///
    /// # Errors
    /// There is no such column, it is NULL, or `parse` does not recognise its text.
    pub(crate) fn required<T>(
        &self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ProtocolError> {
        self.optional(field, parse)?.ok_or(ProtocolError::MissingField { field })
    }
}

/// Collects everything that comes back for one query.
#[derive(Default)]
pub(crate) struct Response {
    results: Vec<Rows>,
    current: Option<Rows>,
    /// The size of `results`.
    size: usize,
    error: Option<ServerError>,
}

impl Response {
    /// Takes a message, and returns whether it was the last.
    ///
    /// # Errors
    /// The message has no place here. An error of the server's is none: more messages follow it.
    pub(crate) fn handle(&mut self, message: BackendMessage) -> Result<bool, ProtocolError> {
        match (message, &mut self.current) {
            (BackendMessage::RowDescription(body), current @ None) => *current = Some(Rows::describe(&body)?),
            (BackendMessage::DataRow(body), Some(rows)) => rows.push(&body)?,
            (BackendMessage::CommandComplete, current) => {
                if let Some(rows) = current.take() {
                    self.size += OVERHEAD + rows.size;
                    self.results.push(rows);
                    check_size(self.size)?;
                }
            }
            (BackendMessage::EmptyQuery, None) => {}
            (BackendMessage::Error(server), _) => self.error = Some(server),
            (BackendMessage::ReadyForQuery, _) => return Ok(true),
            (message, _) => return Err(message.unexpected("waiting for the result of a query")),
        }
        Ok(false)
    }

    /// Returns the results, or the server's error, also where the connection ended behind it.
    pub(crate) fn finish(self) -> Result<Vec<Rows>, ServerError> {
        self.error.map_or(Ok(self.results), Err)
    }

    /// Returns what to report when the connection fails before the last message: a server that gives up a session says
    /// why before it closes.
    pub(crate) fn cut_short(self, failure: ErrorKind) -> ErrorKind {
        self.error.map_or(failure, ErrorKind::Server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::backend_bytes::{BackendBytes, feed};
    use crate::wire::Wire;

    fn response(bytes: &BackendBytes) -> Result<Response, ProtocolError> {
        let mut wire = Wire::default();
        wire.inbox.trust();
        let mut response = Response::default();
        let (_, error) = feed(&mut wire, bytes.bytes(), &[7000], |wire| {
            wire.inbox.poll()?.map(|message| response.handle(message)).transpose()
        });
        error.map_or(Ok(response), Err)
    }

    fn rows(bytes: &BackendBytes) -> Rows {
        response(bytes).unwrap().finish().unwrap().remove(0)
    }

    fn server() -> BackendBytes {
        BackendBytes::new()
    }

    #[test]
    fn values_are_found_by_the_names_of_their_columns() {
        let rows = rows(&server().result(&["a", "b"], &[&[Some("1"), None]]).ready());
        let row = rows.first("a").unwrap();
        assert_eq!(row.required("a", |text| text.parse::<u32>().ok()).unwrap(), 1);
        assert_eq!(row.optional("b", |text| text.parse::<u32>().ok()).unwrap(), None);
        let missing = row.required("b", |_| Some(())).unwrap_err();
        assert!(matches!(missing, ProtocolError::MissingField { field: "b" }), "{missing}");
        let unknown = row.bytes("c").unwrap_err();
        assert!(matches!(unknown, ProtocolError::MissingField { field: "c" }), "{unknown}");
        let invalid = row.required("a", |_| None::<u32>).unwrap_err();
        assert!(matches!(&invalid, ProtocolError::InvalidField { field: "a", found } if found == "1"), "{invalid}");
    }

    #[test]
    fn a_result_without_rows_has_no_first() {
        let rows = rows(&server().result(&["a"], &[]).ready());
        assert!(matches!(rows.first("a"), Err(ProtocolError::MissingField { field: "a" })));
    }

    #[test]
    fn a_row_with_more_values_than_columns_does_no_harm() {
        let rows = rows(&server().row_description(&["a"]).data_row(&[Some("1"), Some("2")]).command_complete());
        assert_eq!(rows.into_text().unwrap().rows, [[Some("1".to_owned()), Some("2".to_owned())]]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_named() {
        let row = [&1_u16.to_be_bytes()[..], &1_u32.to_be_bytes(), b"\xff"].concat();
        let rows = rows(&server().row_description(&["a"]).message(b'D', &row).command_complete().ready());
        let error = rows.into_text().unwrap_err();
        assert!(matches!(&error, ProtocolError::NotUtf8 { column } if column == "a"), "{error}");
    }

    #[test]
    fn a_result_without_end_is_given_up() {
        let mut rows = Rows::default();
        let value = "x".repeat(1 << 20);
        let bytes = server().data_row(&[Some(&value)]);
        let push = |rows: &mut Rows| {
            let mut wire = Wire::default();
            wire.inbox.trust();
            wire.inbox.buffer().extend_from_slice(bytes.bytes());
            match wire.inbox.poll() {
                Ok(Some(BackendMessage::DataRow(body))) => rows.push(&body),
                _ => panic!("no row"),
            }
        };
        let error = (0..100).find_map(|_| push(&mut rows).err()).unwrap();
        assert!(matches!(error, ProtocolError::TooMuch { limit: LARGEST_RESULT, .. }), "{error}");
        assert!(rows.iter().count() < 65);
    }

    #[test]
    fn results_without_end_are_given_up_though_they_are_empty() {
        let mut bytes = server();
        for _ in 0..11_000 {
            bytes = bytes.row_description(&["a"; 100]).command_complete();
        }
        assert!(matches!(response(&bytes), Err(ProtocolError::TooMuch { .. })));
    }

    #[test]
    fn an_error_counts_whatever_came_before_it() {
        let failed = response(&server().result(&["a"], &[]).error("22012", "division by zero").ready()).unwrap();
        assert_eq!(failed.finish().unwrap_err().message(), "division by zero");
    }

    #[test]
    fn a_servers_last_words_explain_the_end_of_the_connection() {
        let fatal = response(&server().error("57P01", "terminating connection")).unwrap();
        assert!(matches!(fatal.cut_short(ErrorKind::ConnectionClosed), ErrorKind::Server(_)));
        assert!(matches!(Response::default().cut_short(ErrorKind::ConnectionClosed), ErrorKind::ConnectionClosed));
    }

    #[test]
    fn messages_out_of_place_are_errors() {
        for bytes in [server().data_row(&[]), server().copy_both(), server().row_description(&[]).row_description(&[])]
        {
            assert!(matches!(response(&bytes), Err(ProtocolError::Unexpected { .. })));
        }
    }
}
