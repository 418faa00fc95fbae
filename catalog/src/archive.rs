//! The WAL archive: moving files in, finding them, removing what nobody needs.

mod encoding;

pub use encoding::Encoding;
