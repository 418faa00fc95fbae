//! Barman 3.19.1 as the judge of what a retention policy means, and how fast the answer comes.

#[path = "../../../benches/retention/large_server.rs"]
mod large_server;
mod reference;
mod speed;
