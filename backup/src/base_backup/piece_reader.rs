//! The archive under way, as a reader for the tar crate.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::Receiver;

use barman_catalog::ArchiveName;

/// What the connection hands to the thread that unpacks, in the order the server sent it.
#[derive(Debug)]
pub(super) enum Piece {
    /// The next bytes of an archive or of the manifest.
    Data(Bytes),
    /// What came before is over.
    Border(Border),
}

/// What begins where something else ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    /// An archive.
    Archive(ArchiveName),
    /// The backup manifest.
    Manifest,
    /// Nothing more: the server says that the backup is complete. A channel that closes without it means that the
    /// connection is gone.
    End,
}

/// Takes pieces off the channel; between two borders it reads as one stream of bytes.
#[derive(Debug)]
pub(super) struct PieceReader {
    channel: Receiver<Piece>,
    data: Bytes,
    border: Option<Border>,
}

impl PieceReader {
    pub(super) fn new(channel: Receiver<Piece>) -> Self {
        Self { channel, data: Bytes::new(), border: None }
    }

    /// Returns the border that ended the bytes before it: the next archive, the manifest, or the end.
    ///
    /// # Errors
    /// Bytes are left before the border, or the channel closed: the connection is gone.
    pub(super) fn next_border(&mut self) -> io::Result<Border> {
        if self.fill()? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes outside an archive"));
        }
        self.border.take().ok_or_else(connection_gone)
    }

    /// Makes sure that bytes are at hand; returns false at a border.
    fn fill(&mut self) -> io::Result<bool> {
        while self.data.is_empty() && self.border.is_none() {
            match self.channel.blocking_recv() {
                Some(Piece::Data(bytes)) => self.data = bytes,
                Some(Piece::Border(border)) => self.border = Some(border),
                // An archive cut short must never look like one that ended.
                None => return Err(connection_gone()),
            }
        }
        Ok(!self.data.is_empty())
    }
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.fill()? {
            return Ok(0);
        }
        (&mut self.data).reader().read(into)
    }
}

fn connection_gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(pieces: Vec<Piece>) -> PieceReader {
        let (sender, receiver) = tokio::sync::mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        PieceReader::new(receiver)
    }

    fn data(bytes: &'static [u8]) -> Piece {
        Piece::Data(Bytes::from_static(bytes))
    }

    const MAIN: Border = Border::Archive(ArchiveName::Main);

    #[test]
    fn an_archive_reads_as_one_stream_up_to_the_next_border() {
        let seven = Border::Archive(ArchiveName::Tablespace(7));
        let mut reader = reader(vec![
            Piece::Border(seven),
            data(b"ab"),
            data(b""),
            data(b"c"),
            Piece::Border(MAIN),
            Piece::Border(Border::End),
        ]);
        assert_eq!(reader.next_border().unwrap(), seven);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert_eq!(reader.next_border().unwrap(), MAIN);
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
        assert_eq!(reader.next_border().unwrap(), Border::End);
    }

    #[test]
    fn a_lost_connection_is_an_error_and_not_an_end() {
        let mut reader = reader(vec![Piece::Border(MAIN), data(b"ab")]);
        reader.next_border().unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn bytes_before_the_first_archive_are_refused() {
        let error = reader(vec![data(b"x")]).next_border().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
