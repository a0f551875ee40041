//! The wire between the probe and the agent, compiled on both sides.
#![no_std]
