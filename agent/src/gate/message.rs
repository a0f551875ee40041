//! What gate and recorder say to each other.
//!
//! Two channels: on one the recorder's watcher asks for signs of life, on the other files are handed over.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::state::FileState;
use crate::text::Bytes;

/// How the gate is to work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where /proc is mounted.
    pub proc: PathBuf,
    /// Whether whole file systems are marked; the gate refuses that outside the initial PID namespace.
    pub file_systems: bool,
}

/// From the recorder's watcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGate {
    /// Answer, to show that you are there.
    Ping {
        /// Comes back.
        number: u64,
    },
    /// Something was executed in mounts that were not looked at yet: mark their file systems.
    Look {
        /// The mount namespace, by its inode number.
        mounts: u32,
        /// Processes that may live in it.
        pids: Vec<u32>,
    },
}

/// To the recorder's watcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGate {
    /// It is there.
    Pong {
        /// Of the question.
        number: u64,
    },
    /// What is watched now.
    Marks(Marks),
    /// Files were executed whose content was not handed over, because the channel was full.
    Missed {
        /// How many.
        count: u64,
        /// The first.
        since: Timestamp,
    },
    /// It cannot work on this host.
    Refused {
        /// Why, in words.
        reason: String,
    },
}

/// What the kernel asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Whether whole file systems are marked, and not mounts of one namespace only.
    pub file_systems: bool,
    /// How many mounts, or file systems.
    pub marked: usize,
    /// What could not be marked, and why; the first few.
    pub refused: Vec<String>,
}

/// One file, with its open descriptor: it is being executed, or has been written to since it was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Who executes it; who wrote to it. 0 outside the gate's PID namespace.
    pub pid: u32,
    /// Its path, as the kernel gave it.
    pub path: Bytes,
    /// Its state at that moment.
    pub state: FileState,
    /// It was not executed but closed after a write.
    pub written: bool,
}

/// The recorder no longer knows these files: their content is to be handed over again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// Which.
    pub states: Vec<FileState>,
}
