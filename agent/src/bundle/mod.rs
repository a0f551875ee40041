//! The bundle: hash, compress, sign; read and verify. The bytes are specified in FORMAT.md.

// What it looks like.
pub mod layout;
pub mod manifest;
pub mod name;

// How it is written.
mod buffers;
mod closing;
mod disk;
mod hasher;
pub mod journal;
mod pipeline;
mod recover;
pub mod seal;
pub mod sign;
mod tags;
pub mod writer;

// How it is read.
pub mod frame;
pub mod members;
pub mod reader;
pub mod signers;
pub mod verify;

pub use frame::Fault;
pub use manifest::{Artifact, Attempt, Capture, Frozen, Method, Outcome};
pub use name::Name;
pub use seal::{Ended, Sealed, seal};
pub use writer::{Added, Bag};

#[cfg(test)]
pub(crate) mod test;
