//! Processes that are held together, because all of their cgroup is read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::cgroup::Cgroup;
use super::guarded::Guarded;
use super::{PAUSE_MAX, STOP_MAX, Stop};
use crate::bundle::Frozen;
use crate::capture::job::Freeze;
use crate::collect::pinned::Pinned;
use crate::collect::procdir::ProcDir;
use crate::event::ProcessId;
use crate::guard::{Guard, Hold};
use crate::plan::InScope;
use crate::proc::Mount;
use crate::text::Bytes;

/// Processes that are read one after the other, held together if they have a cgroup.
#[derive(Debug)]
pub(in crate::collect) struct Lot {
    /// In the order of the plan.
    pub(in crate::collect) processes: Vec<InScope>,
    pub(super) cgroup: Option<Cgroup>,
    /// Of those that live.
    pub(super) dirs: Vec<Arc<ProcDir>>,
}

impl Lot {
    /// What is frozen for it.
    pub(in crate::collect) fn cgroup(&self) -> Option<&Bytes> {
        self.cgroup.as_ref().map(|cgroup| &cgroup.path)
    }
}

/// Divides a scope: where all processes of a cgroup are in it they are one lot, else each is its own.
pub(in crate::collect) fn lots(
    scope: &[InScope],
    policy: Freeze,
    pinned: &Pinned,
    mounts: &[Mount],
) -> Vec<Lot> {
    let fewest = match policy {
        Freeze::Auto => 2,
        Freeze::Cgroup => 1,
        Freeze::Ptrace | Freeze::Stop | Freeze::None => usize::MAX,
    };
    let by_pid: HashMap<u32, ProcessId> = scope.iter().map(|one| (one.id.pid, one.id)).collect();
    let mut groups = Groups { by_pid, fewest, pinned, mounts, asked: HashSet::new() };
    let mut taken: HashSet<ProcessId> = HashSet::new();
    let mut lots = Vec::new();
    for one in scope {
        if taken.contains(&one.id) {
            continue;
        }
        let group = if fewest == usize::MAX { None } else { groups.of(one.id) };
        let (cgroup, dirs) = group.map_or((None, Vec::new()), |(cgroup, dirs)| (Some(cgroup), dirs));
        let together: HashSet<ProcessId> = dirs.iter().map(|dir| dir.id()).chain([one.id]).collect();
        let processes = scope.iter().filter(|one| together.contains(&one.id) && taken.insert(one.id));
        lots.push(Lot { processes: processes.cloned().collect(), cgroup, dirs });
    }
    lots
}

struct Groups<'a> {
    by_pid: HashMap<u32, ProcessId>,
    fewest: usize,
    pinned: &'a Pinned,
    mounts: &'a [Mount],
    /// Cgroups that were looked at.
    asked: HashSet<Vec<u8>>,
}

impl Groups<'_> {
    /// The cgroup of the process with all that is in it, if that is all in scope and none of it is ours.
    fn of(&mut self, id: ProcessId) -> Option<(Cgroup, Vec<Arc<ProcDir>>)> {
        let dir = self.pinned.get(id).ok()?;
        let cgroup = Cgroup::of(&dir, self.mounts)?;
        if !self.asked.insert(cgroup.path.as_slice().to_vec()) {
            return None;
        }
        let members = cgroup.members().ok()?;
        let ours = [std::process::id(), std::os::unix::process::parent_id(), 0, 1];
        if members.len() < self.fewest || ours.iter().any(|pid| members.contains(pid)) {
            return None;
        }
        let dirs: Option<Vec<Arc<ProcDir>>> = members
            .iter()
            .map(|pid| self.pinned.get(*self.by_pid.get(pid)?).ok().filter(|dir| !dir.is_agent()))
            .collect();
        Some((cgroup, dirs?))
    }
}

/// A cgroup that is frozen.
#[derive(Debug)]
pub(super) struct Group {
    /// v1: traced before it was frozen, as nothing can be traced after that. Let go before it is thawed.
    traced: BTreeMap<u32, Stop>,
    /// None when somebody else had frozen it: then it stays so.
    guarded: Option<Guarded>,
    guard: Arc<Guard>,
    cgroup: Cgroup,
    processes: Vec<ProcessId>,
    until: Instant,
    since: (Timestamp, Instant),
    notes: Vec<String>,
}

impl Group {
    /// Freezes all that is in `cgroup`.
    pub(super) fn freeze(cgroup: Cgroup, dirs: &[Arc<ProcDir>], guard: Arc<Guard>) -> Result<Self, String> {
        let fail = |step: &str, error: &dyn std::fmt::Display| {
            format!("freeze its cgroup {}: {step}: {error}", cgroup.path)
        };
        let before = cgroup.stands().map_err(|error| fail("read its state", &error))?;
        let control = cgroup.control().map_err(|error| fail("open it", &error))?;
        let mut traced = BTreeMap::new();
        if cgroup.hold == Hold::Cgroup1 && !before {
            traced.extend(
                dirs.iter().map(|dir| (dir.id().pid, Stop::all(dir, PAUSE_MAX, Some(guard.clone())))),
            );
        }
        let (since, until) = ((Timestamp::now(), Instant::now()), Instant::now() + PAUSE_MAX);
        let guarded = if before {
            None
        } else {
            Some(
                Guarded::begin(guard.clone(), cgroup.hold, control, PAUSE_MAX)
                    .map_err(|error| fail("freeze", &error))?,
            )
        };
        let processes = dirs.iter().map(|dir| dir.id()).collect();
        let mut group = Self { traced, guarded, guard, cgroup, processes, until, since, notes: Vec::new() };
        group.remark(before);
        Ok(group)
    }

    /// Waits until all stands, and says what is not as it should be.
    fn remark(&mut self, before: bool) {
        if before {
            self.notes.push("it was frozen before, and stays so".to_owned());
        }
        let deadline = Instant::now() + STOP_MAX;
        while !self.cgroup.stands().unwrap_or(true) {
            if Instant::now() >= deadline {
                self.notes.push("not all of it stood in time".to_owned());
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
        let known: BTreeSet<u32> = self.processes.iter().map(|id| id.pid).collect();
        let new = self.cgroup.members().map_or(0, |members| members.difference(&known).count());
        if new > 0 {
            self.notes.push(format!("{new} processes came into it just before, and are not read"));
        }
    }

    /// Holds one of its processes for its registers; none, when the time is over.
    pub(super) fn stop(&mut self, dir: &ProcDir) -> Option<Stop> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let mut stop = match self.cgroup.hold {
            // The refrigerator of v1 answers no tracer.
            Hold::Cgroup1 => self.traced.remove(&dir.id().pid).unwrap_or_else(|| Stop::none(dir)),
            _ => Stop::all(dir, left, Some(self.guard.clone())),
        };
        stop.method = self.cgroup.method();
        // It stands with its cgroup, whether it could be traced or not.
        stop.stopped = stop.stopped.max(stop.threads.len());
        stop.until = self.until;
        Some(stop)
    }

    /// Lets it go.
    pub(super) fn thaw(mut self) -> Frozen {
        self.traced.clear();
        let time = match &mut self.guarded {
            Some(guarded) => guarded.release(),
            None => self.since.1.elapsed(),
        };
        Frozen {
            processes: std::mem::take(&mut self.processes),
            method: self.cgroup.method(),
            cgroup: Some(self.cgroup.path.clone()),
            threads: 0,
            since: self.since.0,
            micros: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            note: (!self.notes.is_empty()).then(|| self.notes.join("; ")),
        }
    }
}
