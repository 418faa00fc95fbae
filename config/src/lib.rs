//! barman.conf: text and environment in, typed options out

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

mod assembly;
mod command;
mod configuration;
mod conninfo;
mod disabled;
mod error;
mod files;
mod global;
mod ini;
mod interpolation;
mod location;
mod options;
mod paths;
mod resolution;
mod sections;
mod server;
mod value;
mod warning;

pub use command::Command;
pub use configuration::Configuration;
pub use disabled::{Connection, DisabledReason};
pub use error::{Error, InterpolationError, Shown, SyntaxError};
pub use files::{Files, OsFiles};
pub use global::GlobalConfig;
pub use location::{Environment, find};
pub use paths::PathConflict;
pub use server::{BackupMethod, CreateSlot, RetentionPolicy, ServerConfig, UnsupportedOption};
pub use value::Value;
pub use warning::{Channel, Warning, WarningKind};
