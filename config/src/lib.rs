//! A Barman host is described by `barman.conf` and the files that it includes. Every such file must mean here what it
//! means to Barman 3.19, down to the value that is left aside with a warning; what is asked for and not built here must
//! be refused by name, never ignored.
//!
//! ```
//! use std::path::Path;
//! use barman_config::{BackupMethod, Command, Configuration, TextFiles};
//!
//! let files = TextFiles::from([
//!     ("/etc/barman.conf", "[barman]\nbarman_home = /srv/barman\nconfiguration_files_directory = /etc/barman.d\n"),
//!     ("/etc/barman.d/main.conf", "[main]\nconninfo = host=pg user=barman\nbackup_method = postgres\n\
//!         streaming_archiver = on\nslot_name = barman\nminimum_redundancy = two\npre_archive_script = /bin/true\n"),
//! ]);
//! let configuration = Configuration::load(Path::new("/etc/barman.conf"), &files)?;
//!
//! let main = &configuration.servers["main"];
//! assert_eq!(main.backup_method, BackupMethod::Postgres);
//! assert_eq!(main.wals_directory, Path::new("/srv/barman/main/wals"));
//! assert_eq!(main.warnings[0].to_string(), r#"Invalid minimum_redundancy "two" for server "main" (fallback to "0")"#);
//!
//! // Hook scripts are not built yet: whoever wants to archive finds out before touching a file.
//! let missing: Vec<_> = main.unsupported_for(Command::ArchiveWal).map(|missing| missing.option).collect();
//! assert_eq!(missing, ["pre_archive_script"]);
//! assert!(main.unsupported_for(Command::ReceiveWal).next().is_none());
//! # Ok::<(), barman_config::Error>(())
//! ```
//!
//! [`find`] tells which file is meant, [`Configuration::load`] reads it and what it includes through [`Files`], and
//! [`ServerConfig`] is what the rest of the program works with. One table, in `options.rs`, says of every option how it
//! is parsed, inherited and defaulted, and whether it is built.
//!
//! This crate reads no environment variables and knows no clock, no catalog and no connection.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

mod assembly;
mod choices;
mod command;
mod configuration;
mod conninfo;
mod disabled;
mod error;
mod files;
mod global;
mod ini;
mod interpolation;
mod interpretation;
mod location;
mod options;
mod paths;
#[cfg(test)]
mod python;
mod resolution;
mod retention_file;
mod sections;
mod server;
mod value;
mod warning;

pub use command::Command;
pub use configuration::Configuration;
pub use conninfo::Conninfo;
pub use error::{Error, InterpolationError, SyntaxError};
pub use files::{Files, OsFiles, TextFiles};
pub use global::GlobalConfig;
pub use location::{Environment, find};
pub use paths::PathConflict;
pub use server::{BackupMethod, CreateSlot, RetentionPolicy, ServerConfig, UnsupportedOption};
pub use value::Value;
pub use warning::{Channel, Warning, WarningKind};
