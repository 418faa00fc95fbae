//! Options that take one of a few words, and Barman's answer to any other.

/// One of a few words. Case does not matter unless said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) words: &'static [&'static str],
    /// Barman's explanation of a wrong value; `{}` stands for the word that was compared, `{raw}` for the value.
    pub(crate) refusal: &'static str,
    pub(crate) exact_case: bool,
    /// An empty value means unset, instead of being wrong.
    pub(crate) empty_unsets: bool,
    /// The word that says nothing: the value of `[barman]` applies.
    pub(crate) inherits: Option<&'static str>,
}

impl Choice {
    const fn new(words: &'static [&'static str], refusal: &'static str) -> Self {
        Self { words, refusal, exact_case: false, empty_unsets: false, inherits: None }
    }

    const fn exact_case(self) -> Self {
        Self { exact_case: true, ..self }
    }

    const fn empty_unsets(self) -> Self {
        Self { empty_unsets: true, ..self }
    }

    const fn inherits(self, word: &'static str) -> Self {
        Self { inherits: Some(word), ..self }
    }
}

pub(crate) const AWS_ENCRYPTION: Choice =
    Choice::new(&["AES256", "aws:kms"], "Invalid value '{}' (must be one in: ['AES256', 'aws:kms'])").exact_case();

pub(crate) const BACKUP_COMPRESSION: Choice = Choice::new(
    &["gzip", "lz4", "zstd", "none"],
    "Invalid value '{raw}'(must be one in: ['gzip', 'lz4', 'zstd', 'none'])",
);

pub(crate) const BACKUP_COMPRESSION_FORMAT: Choice =
    Choice::new(&["plain", "tar"], "Invalid value (must be either `plain` or `tar`)");

pub(crate) const BACKUP_COMPRESSION_LOCATION: Choice =
    Choice::new(&["client", "server"], "Invalid value (must be either `client` or `server`)");

pub(crate) const BACKUP_METHOD: Choice = Choice::new(
    &["rsync", "postgres", "local-rsync", "snapshot", "local-to-cloud"],
    "Invalid value (must be one in: 'rsync', 'postgres', 'local-rsync', 'snapshot', 'local-to-cloud')",
);

pub(crate) const COMPRESSION: Choice = Choice::new(
    &["gzip", "bzip2", "pygzip", "pybzip2", "pigz", "xz", "zstd", "lz4", "snappy", "custom"],
    "Invalid value: '{}' (must be one in: gzip, bzip2, pygzip, pybzip2, pigz, xz, zstd, lz4, snappy, custom)",
)
.empty_unsets();

pub(crate) const ENCRYPTION: Choice =
    Choice::new(&["none", "gpg"], "Invalid encryption value '{}'. Allowed values are: none, gpg.").inherits("none");

pub(crate) const COMBINE_MODE: Choice = Choice::new(
    &["copy", "link", "clone", "copy-file-range"],
    "Invalid value: {} (options are: copy, link, clone, copy-file-range)",
);

pub(crate) const CREATE_SLOT: Choice = Choice::new(&["manual", "auto"], "Invalid value (use 'manual' or 'auto')");

pub(crate) const REUSE_BACKUP: Choice =
    Choice::new(&["copy", "link", "off"], "Invalid value (use 'copy', 'link' or 'off')");

pub(crate) const STAGING_LOCATION: Choice =
    Choice::new(&["local", "remote"], "Invalid value: {} (options are: local, remote)").exact_case();
