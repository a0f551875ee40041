//! Holds processes still for the short time in which registers and memory are read.
//!
//! | method | who sees it | what lifts it when the collector dies |
//! |--------|-------------|---------------------------------------|
//! | ptrace | nobody, but a process that another one traces cannot be held | the kernel; the guard ends a collector that hangs |
//! | cgroup | whoever watches the cgroup's own files; nothing in it can be born meanwhile | the guard |
//! | stop   | the parent (SIGCHLD), and the process, if it handles SIGCONT | the guard |
//! | none   | nobody: it is read while it runs, and what changed meanwhile is told | - |
//!
//! `auto` freezes a cgroup when all its processes are read anyway and there is more than one (a container, a service),
//! never one that holds us; else it holds by ptrace, which nobody sees, and by a stop signal only where ptrace is refused
//! to us for another reason than another tracer. A tracer would be told of our signal before the process: what is traced
//! is read while it runs. Registers are read by ptrace whatever holds the process, but for `none`.

mod cgroup;
mod group;
mod guarded;
mod tasks;
mod traced;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::group::Group;
pub(super) use self::group::{Lot, lots};
use self::guarded::Guarded;
pub(super) use self::tasks::{Smear, TaskList};
use self::traced::Traced;
use super::core::Thread;
use super::procdir::{ProcDir, has_ended};

use crate::bundle::{Frozen, Method};
use crate::capture::job::Freeze;
use crate::guard::{Guard, Hold};
use crate::proc::Status;
use crate::system::pidfd;

/// A process is held this long at most; what was not read by then is read while it runs.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long to wait for threads to stop; one in an uninterruptible wait does not.
const STOP_MAX: Duration = Duration::from_millis(500);

/// How often a process is tried again that executes something at just that moment.
const RETRIES: usize = 3;

/// Threads that are looked at.
const THREADS_MAX: usize = 16_384;

/// How it was held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// From the first stop to the last release.
    pub(super) time: Duration,
    /// Threads that had not stopped even then.
    pub(super) lingering: Vec<u32>,
}

/// A process that is held; let go when dropped, and at the latest when its time is over.
#[derive(Debug)]
pub(super) struct Stop {
    /// Dropped, and so let go, before what it stands in is.
    traced: Option<Traced>,
    signalled: Option<Guarded>,
    /// How it is held.
    pub(super) method: Method,
    /// How many threads stand.
    stopped: usize,
    /// The threads with their registers, the leader first; those that could not be stopped have none.
    pub(super) threads: Vec<Thread>,
    /// Threads that were asked to stop and have not in time: in an uninterruptible wait.
    pub(super) pending: Vec<u32>,
    /// Threads whose registers could not be read, and why.
    pub(super) refused: Vec<(u32, String)>,
    /// When it is let go in any case.
    pub(super) until: Instant,
    /// A remark: who traces it, that it stood before.
    pub(super) note: Option<String>,
}

impl Stop {
    /// Holds the process by ptrace, as far as the kernel lets us, for `pause` at most.
    pub(super) fn all(dir: &ProcDir, pause: Duration, guard: Option<Arc<Guard>>) -> Self {
        let mut traced = Traced::all(dir, pause, guard);
        let method = if traced.len() > 0 { Method::Ptrace } else { Method::None };
        Self {
            method,
            stopped: traced.len(),
            threads: std::mem::take(&mut traced.threads),
            pending: std::mem::take(&mut traced.pending),
            refused: std::mem::take(&mut traced.refused),
            until: traced.until,
            note: None,
            signalled: None,
            traced: Some(traced),
        }
    }

    /// Leaves it running: the threads are listed, without registers.
    fn none(dir: &ProcDir) -> Self {
        let (tids, _) = dir.numbers("task", THREADS_MAX).unwrap_or_default();
        let leader = dir.id().pid;
        let mut threads: Vec<Thread> =
            tids.into_iter().map(|tid| Thread { tid, ..Thread::default() }).collect();
        threads.sort_by_key(|thread| (thread.tid != leader, thread.tid));
        Self {
            method: Method::None,
            stopped: 0,
            threads,
            pending: Vec::new(),
            refused: Vec::new(),
            until: Instant::now(),
            note: None,
            signalled: None,
            traced: None,
        }
    }

    /// Whether a thread may not be traced by us.
    fn denied(&self) -> bool {
        self.traced.as_ref().is_some_and(|traced| traced.denied)
    }

    /// How many threads stand.
    pub(super) fn len(&self) -> usize {
        self.stopped
    }

    /// Lets all threads go, if they are not free already.
    pub(super) fn release(&mut self) -> Held {
        let traced = self.traced.take().map(|mut traced| traced.release()).unwrap_or_default();
        let signalled = self.signalled.take().map(|mut signalled| signalled.release()).unwrap_or_default();
        Held { time: traced.time.max(signalled), lingering: traced.lingering }
    }
}

/// Holds one process, or one cgroup, at a time, as the policy says.
#[derive(Debug)]
pub(super) struct Freezer {
    policy: Freeze,
    /// Started when it is first needed.
    guard: Option<Arc<Guard>>,
    group: Option<Group>,
}

impl Freezer {
    pub(super) fn new(policy: Freeze) -> Self {
        Self { policy, guard: None, group: None }
    }

    /// Freezes the lot's cgroup, if it has one that can be; why not, otherwise.
    pub(super) fn begin(&mut self, lot: &Lot) -> Result<(), String> {
        self.group = None;
        let Some(cgroup) = &lot.cgroup else { return Ok(()) };
        let guard = self.guard()?;
        self.group = Some(Group::freeze(cgroup.clone(), &lot.dirs, guard)?);
        Ok(())
    }

    /// Lets the lot's cgroup go; how it was held.
    pub(super) fn end(&mut self) -> Option<Frozen> {
        self.group.take().map(Group::thaw)
    }

    /// Holds a process of the lot.
    pub(super) fn stop(&mut self, dir: &ProcDir) -> Stop {
        if let Some(stop) = self.group.as_mut().and_then(|group| group.stop(dir)) {
            return stop;
        }
        let tracer = tracer(dir);
        let mut stop = match self.policy {
            Freeze::None => Stop::none(dir),
            Freeze::Stop => self.signalled(dir).unwrap_or_else(|why| noting(Stop::none(dir), &why)),
            Freeze::Auto | Freeze::Cgroup | Freeze::Ptrace => self.traced(dir),
        };
        if let Some(tracer) = tracer {
            stop = noting(stop, &format!("it is traced by pid {tracer}"));
        } else if self.policy == Freeze::Auto && stop.stopped == 0 && stop.denied() && dir.check().is_ok() {
            stop = match self.signalled(dir) {
                Ok(signalled) => noting(signalled, "ptrace was refused"),
                Err(failure) => noting(stop, &failure),
            };
        }
        stop
    }

    /// Holds it by ptrace, and says if it stood before.
    fn traced(&mut self, dir: &ProcDir) -> Stop {
        let stood = stands(dir);
        // Without a guard the kernel, and the holder itself, see to it that it is let go.
        let guard = self.guard().ok();
        let mut stop = Stop::all(dir, PAUSE_MAX, guard.clone());
        for _ in 0..RETRIES {
            let missed = stop.stopped == 0 && stop.pending.is_empty() && !stop.denied();
            if !missed || dir.check().is_err() {
                break;
            }
            // All threads that there were have ended, and it lives: it executed something.
            stop = Stop::all(dir, PAUSE_MAX, guard.clone());
        }
        if stood { noting(stop, "it was stopped before, and stays so") } else { stop }
    }

    /// Holds it by a stop signal, and reads its registers if the kernel lets us.
    fn signalled(&mut self, dir: &ProcDir) -> Result<Stop, String> {
        if stands(dir) {
            return Ok(self.traced(dir));
        }
        let guard = self.guard()?;
        let process =
            pidfd::open(dir.id().pid).map_err(|error| format!("open a descriptor of it: {error}"))?;
        // The pinned directory's process lives: so nobody else has its pid.
        dir.check().map_err(|miss| miss.detail)?;
        let until = Instant::now() + PAUSE_MAX;
        let mut signalled = Guarded::begin(guard, Hold::Signal, process, PAUSE_MAX)?;
        let standing = await_stopped(dir);
        let mut stop = Stop::all(dir, PAUSE_MAX, self.guard().ok());
        if standing.is_empty() {
            signalled.release();
            return Err("it did not stop".to_owned());
        }
        stop.method = Method::Stop;
        stop.stopped = stop.stopped.max(standing.len());
        stop.until = stop.until.min(until);
        stop.signalled = Some(signalled);
        Ok(noting(stop, "its parent was told of the stop"))
    }

    fn guard(&mut self) -> Result<Arc<Guard>, String> {
        if self.guard.is_none() {
            self.guard = Some(Arc::new(Guard::start().map_err(|failure| failure.to_string())?));
        }
        self.guard.clone().ok_or_else(|| "there is no guard".to_owned())
    }
}

fn noting(mut stop: Stop, note: &str) -> Stop {
    stop.note = Some(stop.note.map_or(note.to_owned(), |known| format!("{known}; {note}")));
    stop
}

/// Who traces it, if somebody does.
fn tracer(dir: &ProcDir) -> Option<u32> {
    let (text, _) = dir.text("status", 64 << 10).ok()?;
    Status::parse(&text).ok().map(|status| status.tracer).filter(|tracer| *tracer != 0)
}

/// Whether it stands already, by a signal or under a tracer.
fn stands(dir: &ProcDir) -> bool {
    let first = dir.through().unwrap_or(dir.id().pid);
    if !dir.thread(first).is_ok_and(|stat| is_stop(stat.state)) {
        return false;
    }
    let (tids, _) = dir.numbers("task", THREADS_MAX).unwrap_or_default();
    let states: Vec<u8> =
        tids.into_iter().filter_map(|tid| dir.thread(tid).ok()).map(|stat| stat.state).collect();
    let living = || states.iter().copied().filter(|state| !has_ended(*state));
    living().any(is_stop) && living().all(is_stop)
}

fn is_stop(state: u8) -> bool {
    matches!(state, b'T' | b't')
}

/// Waits until all threads stand; those that do when the time is over.
fn await_stopped(dir: &ProcDir) -> Vec<u32> {
    let deadline = Instant::now() + STOP_MAX;
    loop {
        let (tids, _) = dir.numbers("task", THREADS_MAX).unwrap_or_default();
        let states = tids.iter().filter_map(|tid| Some((*tid, dir.thread(*tid).ok()?.state)));
        let living: Vec<(u32, u8)> = states.filter(|(_, state)| !has_ended(*state)).collect();
        let standing: Vec<u32> =
            living.iter().filter(|(_, state)| is_stop(*state)).map(|(tid, _)| *tid).collect();
        if standing.len() == living.len() || Instant::now() >= deadline {
            return standing;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[cfg(test)]
#[path = "freeze_test.rs"]
mod tests;
