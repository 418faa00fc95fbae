//! Barman 3.19.1 as the judge: it reads what we write, and we read what it writes.
