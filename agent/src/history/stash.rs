//! The recorder's side of the stash: takes what the gate hands over, or else opens executables at exec, gives the
//! descriptors to the stasher, and says of which process they were.

mod handed;
mod handle;
mod known;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use self::handed::Handed;
use self::handle::{Kinds, handle};
use self::known::{Known, Outcome};
use super::stasher::{Answer, Ask};
use super::state::{FileId, FileState};
use crate::event::{Image, ProcessId, Skipped, Stashed};
use crate::gate::message::{Forget, HandOver};
use crate::ipc;
use crate::text::Bytes;

/// Files that may wait for the stasher where the number of descriptors is not known.
const PENDING: usize = 256;
/// Processes that wait for one file; the next one asks again.
const PROCESSES_MAX: usize = 1024;
/// Files of which it is remembered what became of them.
const KNOWN_MAX: usize = 8192;
/// A stasher that owes answers and has given none for so long hangs over a file.
const PATIENCE: Duration = Duration::from_secs(30);
/// A file that a stasher did not survive is tried once more.
const TRIES_MAX: u8 = 2;
/// States that the gate is told of in one message.
const FORGET_CHUNK: usize = 256;

/// What is asked of the stasher at the moment, and what it answered before.
pub struct Stash {
    stasher: Option<ipc::Channel>,
    gate: Option<ipc::Channel>,
    limit: usize,
    next: u64,
    pending: HashMap<u64, Pending>,
    /// Of these, not yet sent.
    queue: VecDeque<u64>,
    asked: HashMap<FileState, u64>,
    known: Known,
    handed: Handed,
    kinds: Kinds,
    /// What the gate has to hand over again.
    forget: Vec<FileState>,
    /// When the stasher last gave a sign, or was first asked after it owed nothing.
    sign: Option<Instant>,
}

/// One file that the stasher has or gets, and the processes that run it.
struct Pending {
    file: OwnedFd,
    state: FileState,
    path: Bytes,
    processes: Vec<(ProcessId, Bytes)>,
    tries: u8,
}

/// What became of one request.
#[derive(Debug)]
pub enum Kept {
    /// It is in the stash.
    Yes(ProcessId, Stashed),
    /// It is left out on purpose.
    Skipped(ProcessId, Skipped),
    /// It is not, for this reason.
    No(ProcessId, Bytes, String),
}

impl Default for Stash {
    fn default() -> Self {
        Self::new(PENDING)
    }
}

impl Stash {
    /// At most about `limit` files wait for the stasher, each with an open descriptor.
    pub fn new(limit: usize) -> Self {
        Self {
            stasher: None,
            gate: None,
            limit,
            next: 0,
            pending: HashMap::new(),
            queue: VecDeque::new(),
            asked: HashMap::new(),
            known: Known::new(KNOWN_MAX),
            handed: Handed::default(),
            kinds: Kinds::default(),
            forget: Vec::new(),
            sign: None,
        }
    }

    /// Speaks to the stasher through `channel` from now on. What the last one had not answered is asked again, unless
    /// it has ended two of them, or there is no other: that is lost, and returned.
    pub fn connect(&mut self, channel: Option<ipc::Channel>) -> Vec<Kept> {
        self.stasher = channel;
        let mut tickets: Vec<u64> = self.pending.keys().copied().collect();
        tickets.sort_unstable();
        self.queue.clear();
        let mut lost = Vec::new();
        for ticket in tickets {
            let tries = self.pending.get(&ticket).map_or(0, |pending| pending.tries);
            if self.stasher.is_some() && tries < TRIES_MAX {
                self.queue.push_back(ticket);
            } else {
                let reason = "the stasher ended before it had answered".to_owned();
                lost.extend(self.settled(ticket, Outcome::Failed { reason }, true));
            }
        }
        self.sign = Some(Instant::now());
        self.pump();
        lost
    }

    /// Takes files from the gate through `channel` from now on; what the last one had handed over is taken first.
    pub fn connect_gate(&mut self, channel: Option<ipc::Channel>) {
        self.hand_overs(usize::MAX);
        self.gate = channel;
    }

    /// Whether the stasher still owes answers.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the stasher hangs: it owes answers and has given no sign for half a minute.
    pub fn is_stuck(&self, now: Instant) -> bool {
        let silent = self.sign.is_some_and(|sign| now.saturating_duration_since(sign) > PATIENCE);
        silent && self.is_waiting()
    }

    /// The stasher's channel, to wait for answers.
    pub fn channel(&self) -> Option<&ipc::Channel> {
        self.stasher.as_ref()
    }

    /// The gate's channel, to wait for files, while there is room for them.
    pub fn gate(&self) -> Option<&ipc::Channel> {
        self.gate.as_ref().filter(|_| self.pending.len() < self.limit)
    }

    /// Takes the executable of a process that has just been seen. What is not returned comes later.
    pub fn take(&mut self, proc: &Path, process: ProcessId, image: &Image) -> Vec<Kept> {
        let mut claimed = self.handed.claim(process.pid, image);
        if claimed.is_empty() && self.gate.is_some() {
            // The gate hands over before the exec goes on: if it did, the message is there by now.
            self.hand_overs(self.limit.saturating_mul(2));
            claimed = self.handed.claim(process.pid, image);
        }
        if !claimed.is_empty() {
            return claimed
                .into_iter()
                .filter_map(|(state, path)| self.claim(&state, process, path))
                .collect();
        }
        let no = |reason: String| vec![Kept::No(process, image.executable.clone(), reason)];
        let (file, state) = match handle(proc, process.pid, image, &mut self.kinds) {
            Ok(opened) => opened,
            Err(reason) => {
                // The gate had nothing new to say of it.
                let known = self.gate.as_ref().and_then(|_| self.known_file((image.device, image.inode)));
                return match known {
                    Some(state) => {
                        self.claim(&state, process, image.executable.clone()).into_iter().collect()
                    }
                    None => no(reason),
                };
            }
        };
        if self.stasher.is_none() {
            return no("the stasher does not run".to_owned());
        }
        if !self.is_asked_or_known(&state) {
            if self.pending.len() >= self.limit {
                return no(format!("{} files wait for the stasher already", self.limit));
            }
            self.ask(file, state, image.executable.clone());
        }
        self.claim(&state, process, image.executable.clone()).into_iter().collect()
    }

    /// The process ended: what it was about to execute, and did not, is nobody's.
    pub fn ended(&mut self, pid: u32) {
        self.handed.ended(pid);
    }

    /// Takes what the gate has handed over, as long as fewer than `limit` files wait.
    pub fn hand_overs(&mut self, limit: usize) {
        while self.pending.len() < limit
            && let Some(gate) = &self.gate
        {
            let (HandOver { pid, path, state, written }, files) = match gate.try_recv::<HandOver>() {
                Ok(Some(message)) => message,
                Err(ipc::Error::WouldBlock) => break,
                // Its watcher knows why.
                Ok(None) | Err(_) => {
                    self.gate = None;
                    break;
                }
            };
            if written {
                self.known.forget(state.file());
            } else {
                self.handed.insert(pid, state, path.clone());
            }
            if let Some(file) = files.into_iter().next()
                && !self.is_asked_or_known(&state)
            {
                self.ask(file, state, path);
            }
        }
        self.tell_gate();
    }

    /// Takes what the gate has handed over, as long as there is room.
    pub fn turn(&mut self) {
        self.hand_overs(self.limit);
        self.pump();
    }

    /// Reads the answers that are there. `Err` means that the stasher is gone.
    pub fn answers(&mut self) -> Result<Vec<Kept>, ipc::Error> {
        let mut all = Vec::new();
        while let Some(channel) = self.stasher.as_ref() {
            let answer = match channel.try_recv::<Answer>() {
                Ok(Some((answer, _))) => answer,
                Ok(None) => return Err(ipc::Error::Truncated),
                Err(ipc::Error::WouldBlock) => break,
                Err(failure) => return Err(failure),
            };
            self.sign = Some(Instant::now());
            all.extend(match answer {
                Answer::Kept { ticket, sha256, size, evicted } => {
                    let gone = self.known.forget_contents(&evicted);
                    self.forget.extend(gone);
                    self.settled(ticket, Outcome::Kept { sha256, size }, false)
                }
                Answer::Skipped { ticket, reason } => {
                    self.settled(ticket, Outcome::Skipped { reason, said: false }, false)
                }
                Answer::Failed { ticket, reason, again } => {
                    self.settled(ticket, Outcome::Failed { reason }, again)
                }
            });
        }
        self.pump();
        Ok(all)
    }

    /// A file is settled; what that means for the processes that run it. With `again` it is taken anew next time.
    fn settled(&mut self, ticket: u64, outcome: Outcome, again: bool) -> Vec<Kept> {
        let Some(Pending { state, processes, .. }) = self.pending.remove(&ticket) else { return Vec::new() };
        self.asked.remove(&state);
        let mut outcome = outcome;
        let all = processes
            .into_iter()
            .filter_map(|(process, executable)| kept(&mut outcome, state.size, process, executable))
            .collect();
        if again {
            self.forget.push(state);
        } else {
            let forgotten = self.known.insert(state, outcome);
            self.forget.extend(forgotten);
        }
        all
    }

    /// This process runs that file.
    fn claim(&mut self, state: &FileState, process: ProcessId, executable: Bytes) -> Option<Kept> {
        if let Some(outcome) = self.known.get(state) {
            return kept(outcome, state.size, process, executable);
        }
        let pending = self.asked.get(state).and_then(|ticket| self.pending.get_mut(ticket));
        match pending.filter(|pending| pending.processes.len() < PROCESSES_MAX) {
            Some(pending) => {
                pending.processes.push((process, executable));
                None
            }
            None => Some(Kept::No(process, executable, "too many processes wait for its file".to_owned())),
        }
    }

    fn known_file(&self, file: FileId) -> Option<FileState> {
        self.known.state(file).filter(|state| state.inode != 0)
    }

    fn is_asked_or_known(&mut self, state: &FileState) -> bool {
        self.asked.contains_key(state) || self.known.get(state).is_some()
    }

    fn ask(&mut self, file: OwnedFd, state: FileState, path: Bytes) {
        let ticket = self.next;
        self.next = self.next.wrapping_add(1);
        if self.pending.is_empty() {
            self.sign = Some(Instant::now());
        }
        self.pending.insert(ticket, Pending { file, state, path, processes: Vec::new(), tries: 0 });
        self.asked.insert(state, ticket);
        self.queue.push_back(ticket);
        self.pump();
    }

    /// Sends what waits, as long as the stasher takes it.
    fn pump(&mut self) {
        while let (Some(ticket), Some(channel)) = (self.queue.front().copied(), &self.stasher) {
            if let Some(pending) = self.pending.get_mut(&ticket) {
                let ask = Ask::File { ticket, path: pending.path.clone(), always: false };
                if channel.try_send(&ask, &[pending.file.as_fd()]).is_err() {
                    // Full; or gone, which the answers show.
                    return;
                }
                pending.tries = pending.tries.saturating_add(1);
            }
            self.queue.pop_front();
        }
    }

    fn tell_gate(&mut self) {
        let Some(gate) = &self.gate else {
            self.forget.clear();
            return;
        };
        while !self.forget.is_empty() {
            let states = self.forget.iter().take(FORGET_CHUNK).copied().collect::<Vec<_>>();
            let count = states.len();
            if gate.try_send(&Forget { states }, &[]).is_err() {
                return;
            }
            self.forget.drain(..count);
        }
    }
}

/// What `outcome` means for one process; a file that is left out on purpose is said once.
fn kept(outcome: &mut Outcome, size: u64, process: ProcessId, executable: Bytes) -> Option<Kept> {
    match outcome {
        Outcome::Kept { sha256, size } => {
            Some(Kept::Yes(process, Stashed { sha256: sha256.clone(), size: *size, executable }))
        }
        Outcome::Skipped { said: true, .. } => None,
        Outcome::Skipped { reason, said } => {
            *said = true;
            Some(Kept::Skipped(process, Skipped { executable, size, reason: reason.clone() }))
        }
        Outcome::Failed { reason } => Some(Kept::No(process, executable, reason.clone())),
    }
}

#[cfg(test)]
#[path = "stash/stash_test.rs"]
mod tests;
