//! The `barman` command against real PostgreSQL servers and beside the real Barman.

// A test's own throwaway files are not part of a catalog.
#![allow(clippy::disallowed_methods)]

mod backup_files;
mod chains;
mod compression;
#[cfg(target_arch = "x86_64")]
mod cost;
mod crash;
mod deleting;
#[cfg(target_arch = "x86_64")]
mod deletion_kills;
mod encryption;
mod errors;
#[cfg(target_arch = "x86_64")]
mod every_call;
mod feed;
mod file_archival;
mod find_target;
mod finish_restore;
mod keeping;
mod leases;
mod made_home;
mod memory;
mod output;
mod packed_backups;
mod random_targets;
mod receiver_incidents;
mod receivers;
mod recovery;
mod reference_barman;
mod remote_restore;
mod restore_matrix;
mod scene;
#[cfg(target_arch = "x86_64")]
mod system_calls;
mod taking_turns;
mod target_threads;
mod targets;
mod terminal;
mod tls;
mod under_load;
mod wal_archive;
mod wal_dump;
mod wal_restore;
