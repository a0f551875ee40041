//! The only unsafe code in the agent.

pub mod bpf;
pub mod held;
pub mod socket;
pub mod spawn;
pub mod stat;
