//! The only unsafe code in the agent.

pub mod allocator;
pub mod bpf;
pub mod bpf_try;
pub mod bpf_objects;
pub mod handle;
pub mod held;
pub mod mount_tree;
pub mod pidfd;
pub mod priority;
pub mod prison;
pub mod process;
pub mod socket;
pub mod spawn;
pub mod stat;
pub mod window;
