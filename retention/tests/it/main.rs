//! Barman 3.19.1 as the judge of what a retention policy means.

mod reference;
