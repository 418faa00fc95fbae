//! Restores from catalogs made by hand, and from backups of real servers.

// The tests make and break files as users and disks do.
#![allow(clippy::disallowed_methods)]

mod archives;
mod chains;
mod crash;
mod delta;
mod finish;
mod fixture;
mod plan;
mod remote;
mod restore;
mod server;
mod stop;
mod timelines;
mod wal;
