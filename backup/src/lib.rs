//! Taking from a source: base backups and the WAL receiver
