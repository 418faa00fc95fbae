//! Real processes for tests: PostgreSQL servers, the reference Barman, and load.
//!
//! A backup tool is only as good as what real servers make of its files, so our tests talk to real servers. This crate
//! starts and stops them, each with its own port and its own directory, and depends on none of our other crates: what it
//! says about a server cannot be wrong in the same way as the code under test.
//!
//! ```no_run
//! use test_support::{Postgres, StopMode};
//!
//! let mut server = Postgres::builder().initdb_option("--wal-segsize=1").setting("wal_level", "replica").start();
//! server.psql("create table t (i int); insert into t values (1)");
//! assert_eq!(server.psql("select count(*) from t"), "1");
//! server.stop(StopMode::Fast);
//! ```
//!
//! Everything here panics when it cannot do its job, with the reason and the tail of the log: a test that needs a server
//! must never pass because there was none. Servers stop and directories vanish when the value is dropped.
//!
//! PostgreSQL refuses to run as root. When the tests do, the servers run as the ordinary user named by `TEST_USER`
//! (default `postgres`), and [`TempDir`] gives directories which that user can reach.
//!
//! | Environment | Meaning |
//! |---|---|
//! | `PG_MAJORS` | the versions that tests of several versions use, such as `13 15 19`; 15 alone if it is not set |
//! | `PG_BINDIR_<major>` | programs of that version, instead of what `scripts/postgres` or Debian installed |
//! | `BARMAN_REFERENCE` | the reference Barman, instead of the one that `scripts/test` installs |
//! | `TEST_USER` | who runs the servers when the tests run as root |

// Nothing here is a repository whose writes need an order: these are a test's own throwaway files.
#![allow(clippy::disallowed_methods)]

mod barman;
mod builder;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod call_count;
mod certificates;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod change;
mod daemon;
mod data_directory;
mod fault_proxy;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod faulty_program;
mod freeradius;
mod oidentd;
mod os_user;
mod pam_service;
mod pgbench;
mod port;
mod postgres;
mod programs;
mod run;
mod script;
mod slapd;
mod sshd;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod system_call_fault;
mod temp_dir;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod watched;

pub use barman::{Barman, BarmanHome};
pub use builder::PostgresBuilder;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use call_count::system_calls;
pub use certificates::{Authority, Issued, Wanted};
pub use fault_proxy::{Fault, FaultKind, FaultPlace, FaultProxy};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use faulty_program::{CallKind, FailingCalls, FaultyProgram, NotedCall};
pub use freeradius::Freeradius;
pub use oidentd::Oidentd;
pub use os_user::OsUser;
pub use pgbench::PgbenchLoad;
pub use postgres::{Postgres, StopMode};
pub use programs::{bin_dir, majors, pg_tool};
pub use run::{CommandExt, Finished};
pub use script::write_script;
pub use slapd::Slapd;
pub use sshd::Sshd;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use system_call_fault::{CallEffect, Ended, SystemCallFault, Traced};
pub use temp_dir::TempDir;
