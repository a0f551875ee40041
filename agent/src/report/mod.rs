//! What a person reads: one line for an event, a tree for processes.

pub mod line;
pub mod tree;
