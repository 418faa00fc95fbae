//! Compression and encryption of single files, as streams, in the formats that Barman's users have.
//!
//! What is read is believed to its end or not at all: [`Decoder`] reads every member of a file that has several, and a file
//! that was cut short is an error where the format has an end to miss. That is every format but snappy's, which is a row of
//! chunks: whoever reads snappy has to know how long the contents must be.
//!
//! ```
//! use std::io::{Read as _, Write as _};
//! use barman_storage::codec::{Algorithm, Compression, Decoder, Format, Level};
//!
//! let compression = Compression { algorithm: "zstd".parse()?, level: Level::Medium };
//! let mut encoder = compression.encoder(Vec::new(), None)?;
//! encoder.write_all(b"the contents")?;
//! let stored = encoder.finish()?;
//!
//! assert_eq!(Format::detect(&stored), Some(Format::Zstd));
//! let mut contents = String::new();
//! Decoder::new(Format::Zstd, stored.as_slice())?.read_to_string(&mut contents)?;
//! assert_eq!(contents, "the contents");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod compression;
mod decoder;
mod encoder;
mod format;
mod gpg;
mod gzip;
mod lz4;
mod program;
mod room;
#[cfg(test)]
mod tests;
mod zstd_writer;

pub use compression::{Algorithm, Compression, Level, ParseLevelError, UnknownAlgorithm};
pub use decoder::{BrokenStream, Decoder};
pub use encoder::Encoder;
pub use format::Format;
pub use gpg::Gpg;
pub use program::{FilterReader, FilterWriter, ProgramFailed, ShellFilter};
pub use room::Room;
