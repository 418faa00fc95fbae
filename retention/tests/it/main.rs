//! Barman 3.19.1 as the judge of what a retention policy means, and how fast the answer comes.

mod reference;
mod speed;
