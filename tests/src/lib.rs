//! Whole-program tests: the private world, the actors of the drills, and the judges of what they leave.
//!
//! Nothing here shares code with the agent: it is judged by its command line, its files and its texts.

pub mod http;
pub mod net;
pub mod wait;
pub mod world;
