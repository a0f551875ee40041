//! What is asked of the stasher and not answered yet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::event::ProcessId;
use crate::history::stasher::Ask;
use crate::history::state::FileState;
use crate::text::Bytes;

/// One question, and the processes it is about.
pub(super) struct Pending {
    pub(super) what: What,
    /// Of the file, where it is known.
    pub(super) state: Option<FileState>,
    pub(super) path: Bytes,
    pub(super) runners: Vec<Runner>,
    /// Stashers that were asked.
    pub(super) tries: u8,
}

/// What is to be kept.
pub(super) enum What {
    /// This file.
    File(OwnedFd),
    /// A package's file that was left out before.
    Owned,
    /// The script of the first runner; `ours`: its mounts are the recorder's.
    Script { ours: bool, always: bool },
    /// The shared objects of the first runner.
    Libraries,
}

/// A process that runs a file.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) process: ProcessId,
    pub(super) executable: Bytes,
    /// It runs as a service's account: for it, files of packages are kept too.
    pub(super) service: bool,
}

impl Pending {
    /// The question; `None` when nothing is to be asked.
    pub(super) fn ask(&self, ticket: u64) -> Option<Ask> {
        let path = self.path.clone();
        let process = self.runners.first().map(|runner| runner.process);
        Some(match &self.what {
            What::File(_) => Ask::File { ticket, path },
            What::Owned => Ask::Owned { ticket, path, state: self.state? },
            What::Script { ours, always } => {
                Ask::Script { ticket, process: process?, path, ours: *ours, always: *always }
            }
            What::Libraries => Ask::Libraries { ticket, process: process? },
        })
    }

    /// The descriptor that goes with it.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        match &self.what {
            What::File(file) => Some(file.as_fd()),
            _ => None,
        }
    }
}
