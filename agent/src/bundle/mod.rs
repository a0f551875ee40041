//! The bundle: hash, compress, sign; read and verify. The bytes are specified in FORMAT.md.

pub mod manifest;
pub mod name;
pub mod writer;

pub use manifest::{Attempt, Outcome};
pub use name::Name;
pub use writer::{Added, Bag};
