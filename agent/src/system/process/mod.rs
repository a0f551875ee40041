//! What the collections ask the kernel that needs unsafe code.

pub(crate) mod pagemap;
pub(crate) mod ptrace;
mod statx;

#[cfg(test)]
pub(crate) mod testing;

pub(crate) use statx::{Attributes, statx, statx_behind};
