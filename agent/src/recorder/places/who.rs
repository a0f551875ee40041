//! Whom a pid of the kernel's means.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::event::ProcessId;
use crate::proc::Stat;
use crate::recorder::keeper::Keeper;

/// One that ended longer ago did not do it: its pid is somebody else's now.
const ENDED: SignedDuration = SignedDuration::from_secs(5);

/// Pids and whom they mean.
pub(super) struct Who(HashMap<u32, ProcessId>);

impl Who {
    /// The latest process with each pid that lives or has just ended; where the tree has none, the one in /proc.
    pub(super) fn find(pids: impl Iterator<Item = u32>, keeper: &Keeper, proc: &Path) -> Self {
        let mut wanted: HashSet<u32> = pids.filter(|pid| *pid != 0).collect();
        let mut found: HashMap<u32, ProcessId> = HashMap::new();
        if wanted.is_empty() {
            return Self(found);
        }
        let boot = keeper.boot();
        let now = Timestamp::now();
        for node in keeper.tree.nodes() {
            let id = node.id;
            let ended = node.exited.as_ref().is_some_and(|(time, _)| now.duration_since(*time) > ENDED);
            if id.boot != boot || ended || !wanted.contains(&id.pid) {
                continue;
            }
            let known = found.entry(id.pid).or_insert(id);
            if known.start < id.start {
                *known = id;
            }
        }
        wanted.retain(|pid| !found.contains_key(pid));
        for pid in wanted {
            let text = std::fs::read(proc.join(pid.to_string()).join("stat"));
            if let Some(stat) = text.ok().and_then(|text| Stat::parse(&text).ok()) {
                found.insert(pid, ProcessId { boot, pid, start: stat.start });
            }
        }
        Self(found)
    }

    /// Whom `pid` means.
    pub(super) fn get(&self, pid: u32) -> Option<ProcessId> {
        self.0.get(&pid).copied()
    }
}
