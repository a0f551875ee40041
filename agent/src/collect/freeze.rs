//! Holds all threads of a process for the short time in which registers and memory are read.
//!
//! With PTRACE_SEIZE nobody else can see the stop, and the kernel lets the threads go when the collector ends, however
//! it ends.

use std::thread;
use std::time::{Duration, Instant};

use super::core::{REGISTERS, Thread};
use super::procdir::ProcDir;
use super::system::ptrace::{self, Answer, Regset};

/// Threads that are stopped; a process with more is read with the others running, and says so.
const THREADS_MAX: usize = 16_384;

/// How long to wait for threads to stop; one in an uninterruptible wait does not.
const STOP_MAX: Duration = Duration::from_millis(500);

/// Threads are born while we stop their siblings; after this many looks all are there.
const ROUNDS: usize = 8;

/// Stopped threads; released when dropped.
#[derive(Debug)]
pub(super) struct Stop {
    /// Stopped, and the signal each was about to get.
    stopped: Vec<(u32, i32)>,
    /// Seized, but not stopped yet.
    pending: Vec<u32>,
    /// Threads that could not be stopped, and why.
    pub(super) refused: Vec<(u32, String)>,
    since: Instant,
}

impl Stop {
    /// Stops the threads of the process, as far as the kernel lets us and until a deadline.
    pub(super) fn all(dir: &ProcDir) -> Self {
        let since = Instant::now();
        let mut stop = Self { stopped: Vec::new(), pending: Vec::new(), refused: Vec::new(), since };
        for _ in 0..ROUNDS {
            let Ok((tids, _)) = dir.numbers("task", THREADS_MAX) else { break };
            let new: Vec<u32> = tids.into_iter().filter(|tid| !stop.knows(*tid)).collect();
            if new.is_empty() {
                break;
            }
            for tid in new {
                stop.seize(dir, tid);
            }
            stop.wait(since + STOP_MAX);
        }
        stop
    }

    /// How many threads are stopped.
    pub(super) fn len(&self) -> usize {
        self.stopped.len()
    }

    /// The threads with their registers, the leader first; those that could not be stopped have none.
    pub(super) fn threads(&mut self, leader: u32) -> Vec<Thread> {
        let mut threads = Vec::new();
        for (tid, _) in &self.stopped {
            let read = |set| ptrace::registers(*tid, set);
            let (mut registers, mut float) = (Vec::new(), Vec::new());
            match read(Regset::General) {
                Ok(bytes) if bytes.len() == REGISTERS => {
                    registers = bytes;
                    float = read(Regset::Float).unwrap_or_default();
                }
                Ok(_) => self.refused.push((*tid, "its registers are those of a 32-bit program".to_owned())),
                Err(error) => self.refused.push((*tid, format!("read registers: {error}"))),
            }
            let signal = ptrace::signal_information(*tid).map(Vec::from).unwrap_or_default();
            threads.push(Thread { tid: *tid, registers, float, signal });
        }
        let known: Vec<u32> = threads.iter().map(|thread| thread.tid).collect();
        let others = self.refused.iter().map(|(tid, _)| *tid).chain(self.pending.iter().copied());
        threads
            .extend(others.filter(|tid| !known.contains(tid)).map(|tid| Thread { tid, ..Thread::default() }));
        threads.sort_by_key(|thread| (thread.tid != leader, thread.tid));
        threads
    }

    /// Threads that were asked to stop and have not yet: in an uninterruptible wait.
    pub(super) fn pending(&self) -> &[u32] {
        &self.pending
    }

    /// Lets all threads go; the time since the first stop.
    pub(super) fn release(&mut self) -> Duration {
        self.poll();
        for (tid, signal) in std::mem::take(&mut self.stopped) {
            // ESRCH: it was killed in the meantime, which nobody can prevent.
            drop(ptrace::release(tid, signal));
        }
        self.since.elapsed()
    }

    fn knows(&self, tid: u32) -> bool {
        self.stopped.iter().any(|(known, _)| *known == tid)
            || self.pending.contains(&tid)
            || self.refused.iter().any(|(known, _)| *known == tid)
    }

    fn seize(&mut self, dir: &ProcDir, tid: u32) {
        match ptrace::seize_and_interrupt(tid) {
            // A number is not an identity: it is a thread of this process only if the pinned directory has it now.
            Ok(()) if dir.path(&format!("task/{tid}")).is_ok() => self.pending.push(tid),
            Ok(()) => {
                self.pending.push(tid);
                self.wait(Instant::now() + STOP_MAX);
                if let Some(at) = self.stopped.iter().position(|(stopped, _)| *stopped == tid) {
                    let (tid, signal) = self.stopped.swap_remove(at);
                    drop(ptrace::release(tid, signal));
                }
                self.refused.push((tid, "it ended".to_owned()));
            }
            Err(error) => self.refused.push((tid, format!("stop: {error}"))),
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
                Ok(Answer::Ended) | Err(_) => self.refused.push((tid, "it ended".to_owned())),
            }
        }
    }
}

/// Lets those of `lingering` go that have stopped by now: a thread may leave an uninterruptible wait long after we have
/// lost interest in it. Those that never do are released by the kernel when the collector ends.
pub(super) fn sweep(lingering: &mut Vec<u32>) {
    lingering.retain(|tid| match ptrace::poll(*tid) {
        Ok(Answer::Running) => true,
        Ok(Answer::Stopped(signal)) => {
            drop(ptrace::release(*tid, signal));
            false
        }
        Ok(Answer::Ended) | Err(_) => false,
    });
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.release();
    }
}
