//! Places that matter: which directories, what the kernel tells of them, and which repeats are one event.

pub mod list;
pub mod record;
pub mod sieve;
