//! afterimage: a Linux host agent for forensic capture.
//!
//! The modules stand in the order in which evidence travels:
//!
//! ```text
//! kernel -> history -> trigger -> plan -> capture -> collect -> bundle -> store -> door
//! ```

// The vocabulary that everyone shares.
pub mod event;
pub mod text;
pub mod proc;
pub mod netlink;

// The way of the evidence.
pub mod kernel;
pub mod places;
pub mod thaw;
pub mod vigil;
pub mod history;
pub mod trigger;
pub mod definitions;
mod accounts;
mod containers;
mod packages;
mod log;
mod persistence;
pub mod plan;
pub mod capture;
// Tests prepare what is collected.
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod collect;
pub mod guard;
pub mod bundle;
pub mod store;
pub mod door;
pub mod report;

// The processes, and how they speak.
pub mod recorder;
pub mod gate;
pub mod ipc;
pub mod system;

// What the user typed.
pub mod cli;
pub mod cmd;
pub mod config;
pub mod doctor;
