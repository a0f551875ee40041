//! afterimage: a Linux host agent for forensic capture.
//!
//! The modules stand in the order in which evidence travels:
//!
//! ```text
//! kernel -> history -> trigger -> plan -> capture -> collect -> bundle -> store -> door
//! ```

// The vocabulary that everyone shares.
pub mod event;
pub mod proc;
pub mod text;

// The way of the evidence.
pub mod bundle;
pub mod capture;
pub mod collect;
pub mod door;
pub mod history;
pub mod kernel;
pub mod plan;
pub mod report;
pub mod store;
pub mod trigger;

// The processes, and how they speak.
pub mod ipc;
pub mod recorder;
pub mod system;

// What the user typed.
pub mod cli;
pub mod cmd;
pub mod config;
