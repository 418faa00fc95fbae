//! A typed, async client for PostgreSQL physical replication
