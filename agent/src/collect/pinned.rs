//! Every process of a capture is opened once, and read through that one descriptor by all collections: what stands
//! under its name in the bundle is of one process, whoever gets its pid in the meantime.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::attempts::Miss;
use super::procdir::ProcDir;
use crate::event::ProcessId;

/// Descriptors that are left for everything else.
const OTHERS: u64 = 512;

/// The processes that were opened so far.
pub(super) struct Pinned {
    proc: PathBuf,
    dirs: Mutex<HashMap<ProcessId, Result<Arc<ProcDir>, Miss>>>,
    most: usize,
}

impl Pinned {
    /// None yet, below `proc`.
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc, dirs: Mutex::default(), most: room() }
    }

    /// The directory of `id`. What became of the first attempt to open it is the answer for ever; of a process that has
    /// ended since, it is `gone`.
    pub(super) fn get(&self, id: ProcessId) -> Result<Arc<ProcDir>, Miss> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = dirs.get(&id) {
            let dir = known.clone()?;
            dir.check()?;
            return Ok(dir);
        }
        let opened = ProcDir::open(&self.proc, id).map(Arc::new);
        // Beyond the limit of descriptors it is opened anew each time, and told by its start time alone.
        if dirs.len() < self.most {
            dirs.insert(id, opened.clone());
        }
        opened
    }

    /// Opens all of `ids`, so that none is mistaken for a later owner of its pid.
    pub(super) fn open(&self, ids: impl Iterator<Item = ProcessId>) {
        for id in ids.take(self.most) {
            // What became of it is remembered, and told by the collections.
            drop(self.get(id));
        }
    }
}

impl Debug for Pinned {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pinned").field("proc", &self.proc).finish_non_exhaustive()
    }
}

/// How many directories may be kept open: what the hard limit allows.
fn room() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, hard)| {
        if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
    });
    usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "pinned_test.rs"]
mod tests;
