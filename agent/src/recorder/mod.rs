//! The daemon: small, always on.
