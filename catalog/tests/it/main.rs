//! Tests of the crate through its public interface.
#![allow(clippy::disallowed_methods, reason = "tests prepare and look at files without the code that they test")]

mod backups;
mod barman;
mod check_backup;
mod compression;
mod concurrency;
mod crash;
mod damage;
mod delete;
mod differential;
mod events;
mod histories;
mod ingest;
mod ledger;
mod locks;
mod old_wal;
mod power_loss;
mod purge;
mod put_wal;
mod read;
mod record;
mod repository;
mod stray;
mod timelines;
mod verify;
mod wal_stats;
mod xlog_db;
