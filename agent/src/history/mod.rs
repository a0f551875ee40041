//! The flight recorder: tree in memory, segments on disk, stash.

pub mod gaps;
pub(crate) mod packages;
pub mod policy;
pub mod script;
pub mod segment;
pub mod stash;
pub mod stasher;
pub mod state;
pub mod tree;

/// Makes `folder` for root alone, with its parents.
fn make_private_folder(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
