//! The servers that other crates' tests rely on.

// Files of tests have no order to keep.
#![allow(clippy::disallowed_methods)]

mod barman;
mod postgres;
