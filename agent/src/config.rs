//! The configuration: every value has a default that works.
