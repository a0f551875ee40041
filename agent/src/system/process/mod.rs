//! What the collections ask the kernel that needs unsafe code.

pub(crate) mod pagemap;
pub(crate) mod ptrace;
mod statx;
mod xattr;

#[cfg(test)]
pub(crate) mod testing;

pub(crate) use statx::{Attributes, statx, statx_behind};
pub(crate) use xattr::xattr;
