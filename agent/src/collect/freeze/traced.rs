//! All threads of a process, held by ptrace: the one way to their registers.
//!
//! A thread of the collector does that and nothing else: it never reads what the process could make hang, and lets go
//! when the time is over, whatever became of the reader. With PTRACE_SEIZE nobody else can see the stop, and the kernel
//! lets go all that the holding thread still has, also what has not stopped yet, when that thread ends, however it ends.
//!
//! An exec of one thread waits until all others have ended, and those that we hold end only when we take note of it; but
//! our own PTRACE_SEIZE waits for the exec. So the reader, while it waits for the holder, takes note of the dead.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Held, STOP_MAX};
use crate::collect::core::{Machine, Thread};
use crate::collect::procdir::{ProcDir, has_ended};
use crate::collect::system::ptrace::{self, Answer, Regset};
use crate::guard::Guard;

/// Threads that are stopped; a process with more is read with the others running, and says so.
const THREADS_MAX: usize = 16_384;

/// Threads are born while we stop their siblings; after this many looks all are there.
const ROUNDS: usize = 8;

/// How much longer than agreed the holder may take. The kernel can keep it (in PTRACE_SEIZE, while an exec waits for
/// threads that we hold); then only the end of the whole collector lets the process go.
const LATE_MAX: Duration = Duration::from_secs(2);

/// How much later the guard ends us: for when nothing of us runs any more.
const GUARD_AFTER: Duration = Duration::from_secs(1);

/// How often the reader looks for dead threads while the holder stops the others.
const LOOK: Duration = Duration::from_millis(20);

/// A process that is held; let go when dropped, and at the latest when its time is over.
#[derive(Debug)]
pub(super) struct Traced {
    /// Closed, it asks the holder to let go.
    hold: Option<Sender<()>>,
    released: Receiver<Held>,
    /// How many threads were stopped.
    stopped: usize,
    /// The threads with their registers, the leader first; those that could not be stopped have none.
    pub(super) threads: Vec<Thread>,
    /// Threads that were asked to stop and have not in time: in an uninterruptible wait.
    pub(super) pending: Vec<u32>,
    /// Threads that could not be stopped, and why.
    pub(super) refused: Vec<(u32, String)>,
    /// Whether a thread may not be traced by us.
    pub(super) denied: bool,
    /// When the holder lets go by itself.
    pub(super) until: Instant,
}

impl Traced {
    /// Stops the threads of the process, as far as the kernel lets us, and holds them for `pause` at most.
    pub(super) fn all(dir: &ProcDir, pause: Duration, guard: Option<Arc<Guard>>) -> Self {
        let since = Instant::now();
        let (hold, asked) = channel();
        let (answer, answered) = channel();
        let (end, released) = channel();
        let seized = Arc::new(Mutex::default());
        let shown = Arc::clone(&seized);
        let started = dir.try_clone().and_then(|dir| {
            let holder = move || {
                let watched = guard.filter(|guard| guard.trace(STOP_MAX + pause + GUARD_AFTER).is_ok());
                let mut holder = Holder { seized, ..Holder::default() };
                holder.stop(&dir, since + STOP_MAX);
                let threads = holder.threads(dir.id().pid);
                let Holder { stopped, pending, refused, denied, .. } = &holder;
                let until = Instant::now() + pause;
                // Nobody may listen any more: then it is time to let go.
                let lists = (threads, pending.clone(), refused.clone());
                drop(answer.send((stopped.len(), lists, *denied, until)));
                match asked.recv_timeout(pause) {
                    Ok(()) | Err(_) => holder.release(),
                }
                if let Some(Err(failure)) = watched.map(|guard| guard.traced()) {
                    tracing::warn!("{failure}; it has ended");
                }
                drop(end.send(Held { time: since.elapsed(), lingering: holder.pending }));
            };
            thread::Builder::new().name("holder".to_owned()).spawn(holder)
        });
        let none = |why: String| (0, (Vec::new(), Vec::new(), vec![(dir.id().pid, why)]), false, since);
        let (stopped, (threads, pending, refused), denied, until) = match started {
            Err(error) => none(format!("start a thread to hold it: {error}")),
            Ok(_) => match await_answer(&answered, &shown) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => end_collector(),
                Err(RecvTimeoutError::Disconnected) => none("its holder failed".to_owned()),
            },
        };
        Self { hold: Some(hold), released, stopped, threads, pending, refused, denied, until }
    }

    /// How many threads were stopped.
    pub(super) fn len(&self) -> usize {
        self.stopped
    }

    /// Lets all threads go, if they are not free already.
    pub(super) fn release(&mut self) -> Held {
        if self.hold.take().is_none() {
            return Held::default();
        }
        match self.released.recv_timeout(LATE_MAX) {
            Ok(held) => held,
            Err(RecvTimeoutError::Timeout) => end_collector(),
            Err(RecvTimeoutError::Disconnected) => Held::default(),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.release();
    }
}

/// The holder's answer; until it comes, note is taken of those of `seized` that have died.
fn await_answer<T>(answered: &Receiver<T>, seized: &Mutex<Vec<u32>>) -> Result<T, RecvTimeoutError> {
    let late = Instant::now() + STOP_MAX + LATE_MAX;
    let mut before = 0;
    loop {
        match answered.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) if Instant::now() < late => {
                let mut seized = seized.lock().unwrap_or_else(PoisonError::into_inner);
                // No step forward since the last look: the holder waits for something.
                if seized.len() == before {
                    seized.retain(|tid| !ptrace::note_end(*tid));
                }
                before = seized.len();
            }
            outcome => return outcome,
        }
    }
}

/// The kernel then lets everybody go, and the bag is sealed with what it has. Not by a signal that writes a core: a
/// process that dumps keeps what it traces.
fn end_collector() -> ! {
    kill(Pid::this(), Signal::SIGKILL).unwrap_or_default();
    std::process::abort()
}

/// What the holding thread knows; only it may speak to the threads it traces.
#[derive(Debug, Default)]
struct Holder {
    /// Stopped, and the signal each was about to get.
    stopped: Vec<(u32, i32)>,
    /// Seized, but not stopped yet.
    pending: Vec<u32>,
    refused: Vec<(u32, String)>,
    /// All of these.
    known: HashSet<u32>,
    /// Those of these that were seized, for the reader.
    seized: Arc<Mutex<Vec<u32>>>,
    /// Whether one may not be traced by us.
    denied: bool,
}

impl Holder {
    fn stop(&mut self, dir: &ProcDir, deadline: Instant) {
        for _ in 0..ROUNDS {
            let Ok((tids, _)) = dir.numbers("task", THREADS_MAX) else { break };
            let new: Vec<u32> = tids.into_iter().filter(|tid| self.known.insert(*tid)).collect();
            if new.is_empty() {
                break;
            }
            for tid in new {
                if Instant::now() < deadline {
                    self.seize(dir, tid, deadline);
                } else {
                    self.refused.push((tid, "there was no time to stop it".to_owned()));
                }
            }
            self.wait(deadline);
        }
    }

    fn threads(&mut self, leader: u32) -> Vec<Thread> {
        let mut threads = Vec::new();
        for (tid, _) in &self.stopped {
            let read = |set| ptrace::registers(*tid, set);
            let (mut registers, mut float) = (Vec::new(), Vec::new());
            match read(Regset::General) {
                Ok(bytes) if bytes.len() == Machine::OURS.registers() => {
                    registers = bytes;
                    float = read(Regset::Float).unwrap_or_default();
                }
                Ok(_) => self.refused.push((*tid, "its registers are those of a 32-bit program".to_owned())),
                Err(error) => self.refused.push((*tid, format!("read registers: {error}"))),
            }
            let signal = ptrace::signal_information(*tid).map(Vec::from).unwrap_or_default();
            threads.push(Thread { tid: *tid, registers, float, signal });
        }
        let known: HashSet<u32> = threads.iter().map(|thread| thread.tid).collect();
        let others = self.refused.iter().map(|(tid, _)| *tid).chain(self.pending.iter().copied());
        threads
            .extend(others.filter(|tid| !known.contains(tid)).map(|tid| Thread { tid, ..Thread::default() }));
        threads.sort_by_key(|thread| (thread.tid != leader, thread.tid));
        threads
    }

    /// Lets go all that have stopped by now; the kernel those that have not, when this thread ends.
    fn release(&mut self) {
        self.poll();
        for (tid, signal) in std::mem::take(&mut self.stopped) {
            // ESRCH: it was killed in the meantime, which nobody can prevent.
            drop(ptrace::release(tid, signal));
        }
    }

    fn seize(&mut self, dir: &ProcDir, tid: u32, deadline: Instant) {
        if let Err(error) = ptrace::seize_and_interrupt(tid) {
            // One that is about to end is refused as well.
            if dir.thread(tid).is_ok_and(|stat| !has_ended(stat.state)) {
                self.denied |= error.raw_os_error() == Some(libc::EPERM);
                self.refused.push((tid, format!("stop: {error}")));
            }
            return;
        }
        self.seized.lock().unwrap_or_else(PoisonError::into_inner).push(tid);
        self.pending.push(tid);
        // A number is not an identity: it is a thread of this process only if the pinned directory has it now.
        if dir.path(&format!("task/{tid}")).is_err() {
            self.wait(deadline);
            if let Some(at) = self.stopped.iter().position(|(stopped, _)| *stopped == tid) {
                let (tid, signal) = self.stopped.swap_remove(at);
                drop(ptrace::release(tid, signal));
            }
            // If it has not stopped yet, the kernel lets it go.
            self.pending.retain(|pending| *pending != tid);
        }
    }

    fn wait(&mut self, deadline: Instant) {
        self.poll();
        while !self.pending.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(100));
            self.poll();
        }
    }

    fn poll(&mut self) {
        for tid in std::mem::take(&mut self.pending) {
            match ptrace::poll(tid) {
                Ok(Answer::Stopped(signal)) => self.stopped.push((tid, signal)),
                Ok(Answer::Running) => self.pending.push(tid),
                // It ended, and so is no thread of the process any more.
                Ok(Answer::Ended) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "traced_test.rs"]
mod tests;
