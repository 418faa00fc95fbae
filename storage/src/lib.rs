//! Bytes, durably: directories, publishing, locks, copies
