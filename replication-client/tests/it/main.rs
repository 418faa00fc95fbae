//! Against real PostgreSQL servers.
