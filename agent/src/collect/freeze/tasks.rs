//! Two looks at a process that runs while it is read, so that what changed in between is known: the smear.

use std::collections::BTreeSet;

use serde::Serialize;

use super::THREADS_MAX;
use crate::collect::attempts::Miss;
use crate::collect::procdir::ProcDir;

/// Threads that are named; more are counted.
const NAMED_MAX: usize = 1000;

/// The auxiliary vector has some 20 pairs.
const AUXV_MAX: u64 = 4 << 10;

/// A process at one moment.
#[derive(Debug)]
pub(in crate::collect) struct TaskList {
    /// Number and start of each thread.
    threads: BTreeSet<(u32, u64)>,
    /// What the kernel gave the program when it was executed: addresses and an own place for random bytes.
    program: Vec<u8>,
}

/// What changed between two looks.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::collect) struct Smear {
    threads_before: usize,
    threads_after: usize,
    /// Number and start of threads that were there at the second look only.
    came: Vec<(u32, u64)>,
    /// And at the first only.
    went: Vec<(u32, u64)>,
    /// Whether another program was executed in between.
    executed: bool,
    /// The leader has ended, and this is the thread through which the process was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<u32>,
}

impl TaskList {
    pub(in crate::collect) fn at(dir: &ProcDir) -> Self {
        let (tids, _) = dir.numbers("task", THREADS_MAX).unwrap_or_default();
        let threads = tids.into_iter().filter_map(|tid| Some((tid, dir.thread(tid).ok()?.start))).collect();
        let program = dir.text("auxv", AUXV_MAX).map(|(bytes, _)| bytes).unwrap_or_default();
        Self { threads, program }
    }

    /// What has changed since this look.
    pub(in crate::collect) fn until_now(&self, dir: &ProcDir) -> Smear {
        let now = Self::at(dir);
        let only = |one: &Self, other: &Self| {
            one.threads.difference(&other.threads).take(NAMED_MAX).copied().collect()
        };
        Smear {
            threads_before: self.threads.len(),
            threads_after: now.threads.len(),
            came: only(&now, self),
            went: only(self, &now),
            // Neither was read of a process that ends.
            executed: !self.program.is_empty() && !now.program.is_empty() && self.program != now.program,
            through: dir.through(),
        }
    }
}

impl Smear {
    /// What it means for what was read in between; nothing, if nothing changed.
    pub(in crate::collect) fn lack(&self) -> Option<Miss> {
        self.executed.then(|| {
            Miss::partial(
                "it executed another program while it was read: what was read first is of the one before",
            )
        })
    }

    /// In words.
    pub(in crate::collect) fn said(&self) -> String {
        let through =
            self.through.map(|tid| format!("; its leader has ended, it was read through thread {tid}"));
        let (came, went) = (self.came.len(), self.went.len());
        format!("{came} threads came and {went} went while it was read{}", through.unwrap_or_default())
    }
}
