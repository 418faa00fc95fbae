//! barman.conf: text and environment in, typed options out
