//! Exit codes that scripts and monitoring rely on.

/// Everything asked for was done; warnings do not count.
pub(crate) const SUCCESS: u8 = 0;
/// At least one error was reported, or a check failed.
pub(crate) const FAILURE: u8 = 1;
/// The command line could not be understood; also `check --nagios` when something is critical.
pub(crate) const USAGE: u8 = 2;
/// `get-wal` was given something that is not a WAL file name, or its output file could not be opened.
pub(crate) const GET_WAL_USAGE: u8 = 3;
/// A server in recovery cannot be given what it asks for. PostgreSQL takes what is above 125 for trouble, on which recovery
/// stops, and everything else for the end of WAL, at which it promotes.
pub(crate) const FEED_ABORT: u8 = 255;
