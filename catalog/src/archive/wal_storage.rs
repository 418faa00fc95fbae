//! How WAL is stored: compressed, encrypted, or as PostgreSQL wrote it.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use barman_storage::OutFile;
use barman_storage::codec::{Compression, Decoder, Encoder, FilterWriter, Format, Gpg, Room, ShellFilter};
use wal_format::Crc32c;

use crate::{Content, Encoding, Error};

/// What becomes of WAL when it is archived, and what it takes to read it again. By default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalStorage {
    /// How it is compressed. What arrives compressed stays as it is.
    pub compression: Option<WalCompression>,
    /// The programs behind [`WalCompression::Custom`].
    pub filters: CustomFilters,
    /// For whom it is encrypted: a key that `gpg` knows.
    pub recipient: Option<String>,
    /// A command that prints the passphrase of that key.
    pub passphrase_command: Option<ShellFilter>,
}

/// How WAL is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalCompression {
    /// By ourselves.
    BuiltIn(Compression),
    /// By a program.
    Custom,
}

/// Programs of the user's that compress and decompress, and how what they write begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomFilters {
    /// Compresses its standard input.
    pub compress: Option<ShellFilter>,
    /// Undoes that.
    pub decompress: Option<ShellFilter>,
    /// The first bytes of what the former writes.
    pub magic: Option<Vec<u8>>,
}

impl WalCompression {
    /// Barman's name, as it is in the index.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuiltIn(compression) => compression.algorithm.name(),
            Self::Custom => "custom",
        }
    }
}

/// Telling how a file is wrapped.
impl WalStorage {
    /// Tells by the first bytes of a file how it is wrapped.
    #[must_use]
    pub fn detect(&self, head: &[u8]) -> Encoding {
        match Encoding::detect(head) {
            _ if self.filters.magic.as_ref().is_some_and(|magic| head.starts_with(magic)) => Encoding::Custom,
            // Without a magic number, what is neither known nor PostgreSQL's can only be the filter's.
            Encoding::Plain if self.may_be_custom() && !begins_like_postgresql(head) => Encoding::Custom,
            encoding => encoding,
        }
    }

    fn may_be_custom(&self) -> bool {
        self.filters.magic.is_none() && self.compression == Some(WalCompression::Custom)
    }

    /// Tells how a file is wrapped that was just opened.
    pub(crate) fn detect_opened(&self, file: &File) -> io::Result<Encoding> {
        let mut head = Vec::new();
        file.take(Encoding::HEAD_LEN as u64).read_to_end(&mut head)?;
        Ok(self.detect(&head))
    }

    /// Whether what is wrapped like this can be read.
    #[must_use]
    pub fn can_read(&self, encoding: Encoding) -> bool {
        match encoding {
            Encoding::Plain | Encoding::Compressed(_) => true,
            Encoding::Custom => self.filters.decompress.is_some(),
            Encoding::Encrypted => self.passphrase_command.is_some(),
        }
    }

    /// Returns what a file holds that is wrapped like this, from its beginning. Its end counts only if reading ends well.
    ///
    /// # Errors
    /// It cannot be read, or a program that it takes cannot be started.
    pub fn reader(&self, encoding: Encoding, file: File) -> io::Result<Box<dyn Read + Send>> {
        let missing = |option| io::Error::new(io::ErrorKind::Unsupported, format!("the option {option} is not set"));
        match encoding {
            Encoding::Plain => Ok(Box::new(file)),
            Encoding::Compressed(format) => decoder(format, file),
            Encoding::Custom => match &self.filters.decompress {
                Some(filter) => Ok(Box::new(filter.reader(file)?)),
                None => Err(missing("custom_decompression_filter")),
            },
            Encoding::Encrypted => match &self.passphrase_command {
                Some(command) => self.decrypted(command, file),
                None => Err(missing("encryption_passphrase_command")),
            },
        }
    }

    fn decrypted(&self, passphrase_command: &ShellFilter, file: File) -> io::Result<Box<dyn Read + Send>> {
        let mut passphrase = Vec::new();
        passphrase_command.reader(io::empty())?.read_to_end(&mut passphrase)?;
        let mut decrypted = Gpg::default().reader(file, passphrase)?;
        let mut head = Vec::new();
        decrypted.by_ref().take(Encoding::HEAD_LEN as u64).read_to_end(&mut head)?;
        let inside = self.detect(&head);
        let decrypted = io::Cursor::new(head).chain(decrypted);
        match (inside, &self.filters.decompress) {
            (Encoding::Compressed(format), _) => decoder(format, decrypted),
            (Encoding::Custom, Some(filter)) => Ok(Box::new(filter.reader(decrypted)?)),
            _ => Ok(Box::new(decrypted)),
        }
    }
}

fn decoder(format: Format, source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    const BUFFER: usize = 128 * 1024;
    Ok(Box::new(Decoder::new(format, BufReader::with_capacity(BUFFER, source))?))
}

/// The first page of a segment, in either byte order, or nothing written yet; or the text of a history or label.
fn begins_like_postgresql(head: &[u8]) -> bool {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    matches!(head, [_, 0xD0..=0xD1, ..] | [0xD0..=0xD1, ..] | [0, 0, ..]) || head.iter().all(is_text)
}

/// Wrapping.
impl WalStorage {
    /// How a file is stored that arrives like this: its compression and its encryption, by their names in the index.
    pub(crate) fn stored_as(&self, encoding: Encoding) -> (Option<&'static str>, Option<&'static str>) {
        let compression = match encoding {
            Encoding::Plain => self.compression.map(WalCompression::name),
            encoding => encoding.compression(),
        };
        let encryption = if self.recipient.is_some() { Some("gpg") } else { encoding.encryption() };
        (compression, encryption)
    }

    /// Whether a file that arrives like this is stored otherwise.
    pub(crate) fn wraps(&self, encoding: Encoding) -> bool {
        self.stored_as(encoding) != (encoding.compression(), encoding.encryption())
    }

    /// Whether nobody here can tell what a file held that arrived like this, once it is stored: those who restore have the
    /// passphrase, or the program that undoes a compression.
    pub(crate) fn hides(&self, encoding: Encoding) -> bool {
        let is_custom = self.compression == Some(WalCompression::Custom);
        self.wraps(encoding) && (self.recipient.is_some() || (is_custom && self.filters.decompress.is_none()))
    }

    /// Writes into `target`, as it is to be stored, what `read` hands to its argument piece by piece: `length` bytes that
    /// arrived like `encoding`. `room` may have memory from the file before, and gets it back.
    pub(crate) fn store(
        &self,
        encoding: Encoding,
        length: u64,
        (target, room): (&mut OutFile, &Room),
        read: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<Content, Error> {
        let mut sink = Sink { target, crc: Crc32c::new(), bytes: 0, failure: None };
        let stored = self.run_stages(encoding, length, (&mut sink, room), read);
        // The codec has its own words for a full disk.
        match (stored, sink.failure) {
            (_, Some(failure)) => Err(failure.into()),
            (Err(error), None) => Err(error),
            (Ok(()), None) => Ok(Content { bytes: sink.bytes, crc32c: sink.crc.finish() }),
        }
    }

    fn run_stages(
        &self,
        encoding: Encoding,
        length: u64,
        (sink, room): (&mut Sink<'_>, &Room),
        read: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = sink.target.path().to_owned();
        let failed = |source| Error::Wrap { path: path.clone(), source };
        let mut stage = self.stage(encoding, length, sink, room).map_err(failed)?;
        read(&mut |bytes| stage.write_all(bytes).map_err(failed))?;
        stage.end().map_err(failed)
    }

    /// What the bytes go through: the first to compress, the next to encrypt, and the file.
    fn stage<'a>(
        &self,
        encoding: Encoding,
        length: u64,
        sink: &'a mut Sink<'_>,
        room: &Room,
    ) -> io::Result<Box<dyn Stage + 'a>> {
        let mut stage: Box<dyn Stage + 'a> = Box::new(sink);
        if let Some(recipient) = self.recipient.as_deref().filter(|_| encoding != Encoding::Encrypted) {
            stage = Box::new(Gpg::default().writer(recipient, stage)?);
        }
        match self.compression.filter(|_| encoding == Encoding::Plain) {
            Some(WalCompression::BuiltIn(compression)) => {
                stage = Box::new(compression.encoder_in(room, stage, Some(length))?);
            }
            Some(WalCompression::Custom) => match &self.filters.compress {
                Some(filter) => stage = Box::new(filter.writer(stage)?),
                None => return Err(io::Error::other("the option custom_compression_filter is not set")),
            },
            None => {}
        }
        Ok(stage)
    }
}

/// Something that bytes go through, and that has to be ended.
trait Stage: Write {
    fn end(self: Box<Self>) -> io::Result<()>;
}

impl Stage for &mut Sink<'_> {
    fn end(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for Encoder<Box<dyn Stage + '_>> {
    fn end(self: Box<Self>) -> io::Result<()> {
        self.finish()?.end()
    }
}

impl Stage for FilterWriter<Box<dyn Stage + '_>> {
    fn end(self: Box<Self>) -> io::Result<()> {
        self.finish()?.end()
    }
}

/// The file at the end, with what is known of its contents.
struct Sink<'a> {
    target: &'a mut OutFile,
    crc: Crc32c,
    bytes: u64,
    failure: Option<barman_storage::Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.target.write_all(bytes) {
            let kind = error.kind();
            self.failure = Some(error);
            return Err(kind.into());
        }
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barman_storage::codec::{Algorithm, Level};

    fn custom(magic: Option<&[u8]>) -> WalStorage {
        let filters = CustomFilters { magic: magic.map(<[u8]>::to_vec), ..CustomFilters::default() };
        WalStorage { compression: Some(WalCompression::Custom), filters, ..WalStorage::default() }
    }

    #[test]
    fn a_custom_filters_output_is_told_by_its_magic_or_for_want_of_one_by_what_else_it_could_be() {
        assert_eq!(custom(Some(b"CUST")).detect(b"CUST and more"), Encoding::Custom);
        assert_eq!(custom(Some(b"CUST")).detect(b"\x99 else"), Encoding::Plain);
        for head in [&b"\x99\x98"[..], b"\x01\x02\x03"] {
            assert_eq!(custom(None).detect(head), Encoding::Custom);
            assert_eq!(WalStorage::default().detect(head), Encoding::Plain);
        }
        for head in [&b"\x10\xd1\x06\x00"[..], b"\xd1\x10\x00\x06", b"1\t0/3000000\tno", b"START WAL", b"\0\0\0\0", b""]
        {
            assert_eq!(custom(None).detect(head), Encoding::Plain, "{}", head.escape_ascii());
        }
        assert_eq!(custom(None).detect(b"\x1f\x8b\x08"), Encoding::Compressed(Format::Gzip));
    }

    #[test]
    fn what_arrives_compressed_stays_as_it_is() {
        let compression = Compression { algorithm: Algorithm::Pigz, level: Level::Medium };
        let mut storage =
            WalStorage { compression: Some(WalCompression::BuiltIn(compression)), ..WalStorage::default() };
        let zstd = Encoding::Compressed(Format::Zstd);
        assert_eq!(storage.stored_as(Encoding::Plain), (Some("pigz"), None));
        assert_eq!(storage.stored_as(zstd), (Some("zstd"), None));
        assert!(storage.wraps(Encoding::Plain) && !storage.wraps(zstd) && !storage.wraps(Encoding::Encrypted));
        storage.recipient = Some("somebody".to_owned());
        assert_eq!(storage.stored_as(zstd), (Some("zstd"), Some("gpg")));
        assert!(storage.hides(Encoding::Plain) && storage.hides(zstd) && !storage.hides(Encoding::Encrypted));
        assert!(storage.wraps(zstd) && !storage.wraps(Encoding::Encrypted));
    }
}
