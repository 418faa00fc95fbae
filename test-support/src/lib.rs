//! Real processes for tests: PostgreSQL, Barman, load
