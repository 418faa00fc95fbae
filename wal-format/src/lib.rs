//! Every byte layout PostgreSQL owns: WAL, timelines, labels, manifests
