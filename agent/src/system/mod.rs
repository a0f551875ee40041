//! The only unsafe code in the agent.

pub mod spawn;
