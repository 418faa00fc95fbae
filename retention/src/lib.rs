//! Retention policies as pure decisions
