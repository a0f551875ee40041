//! The act: a collector of its own for each trigger, watched, its bag sealed however it ends.

pub mod job;
pub mod message;
pub mod recall;
pub mod supervise;
