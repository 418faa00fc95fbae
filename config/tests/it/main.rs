//! What configurations mean: by examples, and with Barman 3.19.1 as the judge.

mod errors;
mod files;
mod reference;
mod typed;
mod unsupported;
