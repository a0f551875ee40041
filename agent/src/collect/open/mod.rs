//! The one way to what an attacker may have chosen. A path is bytes, gone along one component at a time from descriptor
//! to descriptor, so that it may be of any length; each is opened as a path only, without following a link or crossing
//! into a file system that may never answer, and looked at before it is opened to be read, without waiting.
//!
//! `clippy.toml` forbids the collections every other way; where one reads what is the kernel's or the agent's own, it says so.

mod down;
pub(super) mod file;
mod links;
pub(super) mod mounted;
mod mounts;
mod stays;
pub(super) mod walk;

pub(super) use down::{ANY_DEPTH, Later};
pub(super) use stays::Stays;
pub(super) use walk::top;
