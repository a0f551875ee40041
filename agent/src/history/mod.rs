//! The flight recorder: tree in memory, segments on disk, stash.

pub mod tree;
