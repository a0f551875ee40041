//! HTTP, in an unprivileged process of its own.

pub mod secrets;
