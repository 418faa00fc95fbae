//! What a server sends, byte by byte.

use bytes::{BufMut, BytesMut};
use wal_format::Lsn;

use crate::wire::Wire;

/// Appends messages of a server's.
#[derive(Clone, Default)]
pub(crate) struct BackendBytes(BytesMut);

impl BackendBytes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Bytes that are no message.
    #[cfg(feature = "testing")]
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Replaces some bytes of what is there.
    #[cfg(feature = "testing")]
    pub(crate) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn message(mut self, tag: u8, body: &[u8]) -> Self {
        self.0.put_u8(tag);
        self.0.put_u32(u32::try_from(body.len() + 4).unwrap());
        self.0.put_slice(body);
        self
    }

    /// An authentication request with the given code.
    pub(crate) fn authentication(self, code: u32, body: &[u8]) -> Self {
        self.message(b'R', &[&code.to_be_bytes(), body].concat())
    }

    pub(crate) fn error(self, sqlstate: &str, message: &str) -> Self {
        self.words(b'E', "ERROR", sqlstate, message)
    }

    #[cfg(test)]
    pub(crate) fn notice(self, message: &str) -> Self {
        self.words(b'N', "NOTICE", "00000", message)
    }

    fn words(self, tag: u8, severity: &str, sqlstate: &str, message: &str) -> Self {
        let body = format!("S{severity}\0V{severity}\0C{sqlstate}\0M{message}\0\0");
        self.message(tag, body.as_bytes())
    }

    pub(crate) fn parameter(self, name: &str, value: &str) -> Self {
        self.message(b'S', format!("{name}\0{value}\0").as_bytes())
    }

    /// A result: its columns, its rows, its end.
    pub(crate) fn result(self, columns: &[&str], rows: &[&[Option<&str>]]) -> Self {
        let described = self.row_description(columns);
        rows.iter().fold(described, |bytes, row| bytes.data_row(row)).command_complete()
    }

    pub(crate) fn row_description(self, columns: &[&str]) -> Self {
        let mut body = BytesMut::new();
        body.put_u16(u16::try_from(columns.len()).unwrap());
        for column in columns {
            body.put_slice(column.as_bytes());
            // The final NUL, then table, column, type, size, modifier and format.
            body.put_bytes(0, 1 + 4 + 2 + 4 + 2 + 4 + 2);
        }
        self.message(b'T', &body)
    }

    pub(crate) fn data_row(self, values: &[Option<&str>]) -> Self {
        let mut body = BytesMut::new();
        body.put_u16(u16::try_from(values.len()).unwrap());
        for value in values {
            body.put_i32(value.map_or(-1, |value| i32::try_from(value.len()).unwrap()));
            body.put_slice(value.unwrap_or_default().as_bytes());
        }
        self.message(b'D', &body)
    }

    pub(crate) fn command_complete(self) -> Self {
        self.message(b'C', b"DONE\0")
    }

    pub(crate) fn ready(self) -> Self {
        self.message(b'Z', b"I")
    }

    pub(crate) fn copy_both(self) -> Self {
        self.message(b'W', &[0, 0, 0])
    }

    pub(crate) fn copy_out(self) -> Self {
        self.message(b'H', &[0, 0, 0])
    }

    pub(crate) fn copy_data(self, body: &[u8]) -> Self {
        self.message(b'd', body)
    }

    pub(crate) fn copy_done(self) -> Self {
        self.message(b'c', &[])
    }

    /// A piece of WAL, up to the end of the server's WAL.
    #[cfg(test)]
    pub(crate) fn wal(self, start: u64, data: &[u8]) -> Self {
        let end = start + u64::try_from(data.len()).unwrap();
        self.wal_until(Lsn::new(start), Lsn::new(end), data)
    }

    /// A piece of WAL of a server whose WAL ends at `end`.
    pub(crate) fn wal_until(self, start: Lsn, end: Lsn, data: &[u8]) -> Self {
        let (start, end) = (start.as_u64().to_be_bytes(), end.as_u64().to_be_bytes());
        self.copy_data(&[b"w", &start[..], &end, &[0; 8], data].concat())
    }

    pub(crate) fn keepalive(self, end: u64, reply_requested: bool) -> Self {
        self.copy_data(&[b"k", &end.to_be_bytes()[..], &[0; 8], &[u8::from(reply_requested)]].concat())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Feeds `bytes` to a wire in pieces of the given sizes (the last one again and again), and collects what `poll` has to
/// say after each, up to the first error.
pub(crate) fn feed<T, E>(
    wire: &mut Wire,
    bytes: &[u8],
    sizes: &[usize],
    mut poll: impl FnMut(&mut Wire) -> Result<Option<T>, E>,
) -> (Vec<T>, Option<E>) {
    let mut found = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(sizes.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        wire.inbox.buffer().extend_from_slice(piece);
        rest = after;
        loop {
            match poll(wire) {
                Ok(Some(item)) => found.push(item),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}
