//! The flight recorder: tree in memory, segments on disk with their indexes, stash.

pub mod gaps;
pub(crate) mod packages;
pub mod policy;
pub mod script;
pub mod compact;
pub mod frame;
pub mod index;
pub mod query;
pub mod retain;
pub mod segment;
pub mod sieve;
pub mod stash;
pub mod stasher;
pub mod state;
mod sync;
pub mod tree;
pub mod writer;

/// Makes `folder` for root alone, with its parents.
fn make_private_folder(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
