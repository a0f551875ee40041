//! Whole-program tests: the private world, the actors of the drills, and the judges of what they leave.
//!
//! Nothing here shares code with the agent: it is judged by its command line, its files and its texts.

pub mod agent;
pub mod bench;
pub mod bpf_stats;
pub mod container;
pub mod core;
pub mod coverage;
pub mod debian;
pub mod deeds;
pub mod churn;
pub mod digest;
pub mod drill;
pub mod elf;
pub mod events;
pub mod exec_storm;
pub mod frozen;
pub mod fuse;
pub mod hostile;
pub mod http;
pub mod hiders;
pub mod holder;
pub mod judges;
pub mod known;
pub mod living;
pub mod mapper;
pub mod net;
pub mod persistence;
pub mod proc;
pub mod ram;
pub mod sabotage;
pub mod signed;
pub mod storm;
pub mod story;
pub mod terminal;
pub mod tiny;
pub mod wait;
pub mod world;
pub mod zoo;
