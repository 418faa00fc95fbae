//! What exists: backups, the WAL archive, their records and locks
