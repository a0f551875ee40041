//! The only unsafe code in the agent.

pub mod socket;
pub mod spawn;
