//! [`ServerCompression`]: what the server shall compress archives with before it sends them.

use std::fmt;

/// A compression that a server applies to the archives of a base backup (PostgreSQL 15 and newer, as far as it was
/// built with them). The manifest is never compressed.
///
/// ```
/// use replication_client::{BaseBackupOptions, ServerCompression};
///
/// let mut options = BaseBackupOptions::new("nightly");
/// options.compression = Some(ServerCompression::Zstd { level: Some(3), workers: None, long_distance: false });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerCompression {
    /// gzip: one member per archive.
    Gzip {
        /// 1 to 9; by default zlib's.
        level: Option<u8>,
    },
    /// lz4: one frame per archive.
    Lz4 {
        /// 1 to 12; by default the fastest.
        level: Option<u8>,
    },
    /// Zstandard: one frame per archive.
    Zstd {
        /// Negative levels are fastest, 22 is the smallest; by default 3.
        level: Option<i32>,
        /// How many threads the server uses beside the one that sends.
        workers: Option<u8>,
        /// Whether the server looks for repetitions far apart (PostgreSQL 16 and newer).
        long_distance: bool,
    },
}

impl ServerCompression {
    /// Returns what follows `.tar` in the names of archives: `.gz`, `.lz4` or `.zst`.
    #[must_use]
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => ".gz",
            Self::Lz4 { .. } => ".lz4",
            Self::Zstd { .. } => ".zst",
        }
    }

    /// Returns the options of `BASE_BACKUP` that ask for it. Levels and the like are the detail, whose grammar is
    /// `parse_compress_specification`'s in `compression.c`.
    pub(super) fn options(&self) -> String {
        let detail = match *self {
            Self::Gzip { level } | Self::Lz4 { level } => vec![level_of(level)],
            Self::Zstd { level, workers, long_distance } => vec![
                level_of(level),
                workers.map(|workers| format!("workers={workers}")),
                long_distance.then(|| "long".to_owned()),
            ],
        };
        let detail: Vec<String> = detail.into_iter().flatten().collect();
        if detail.is_empty() {
            return format!("COMPRESSION '{self}'");
        }
        format!("COMPRESSION '{self}', COMPRESSION_DETAIL '{}'", detail.join(","))
    }
}

fn level_of(level: Option<impl fmt::Display>) -> Option<String> {
    level.map(|level| format!("level={level}"))
}

/// Displays the name that PostgreSQL gives it.
impl fmt::Display for ServerCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip { .. } => "gzip",
            Self::Lz4 { .. } => "lz4",
            Self::Zstd { .. } => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_in_the_detail() {
        let zstd = |level, workers, long_distance| ServerCompression::Zstd { level, workers, long_distance };
        for (compression, expected) in [
            (ServerCompression::Gzip { level: None }, "COMPRESSION 'gzip'"),
            (ServerCompression::Lz4 { level: Some(9) }, "COMPRESSION 'lz4', COMPRESSION_DETAIL 'level=9'"),
            (zstd(None, None, true), "COMPRESSION 'zstd', COMPRESSION_DETAIL 'long'"),
            (zstd(Some(-5), Some(2), false), "COMPRESSION 'zstd', COMPRESSION_DETAIL 'level=-5,workers=2'"),
        ] {
            assert_eq!(compression.options(), expected);
        }
    }
}
