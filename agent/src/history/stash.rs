//! The recorder's side of the stash: takes what the gate hands over, or else opens executables at exec, gives the
//! descriptors to the stasher, and says of which process they were.

mod handed;
mod handle;
mod known;
mod later;
mod pending;

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::handed::Handed;
use self::handle::{Kinds, handle};
use self::known::{Known, Outcome};
use self::later::Later;
use self::pending::{Pending, Runner, What};
use super::policy::Accounts;
use super::script;
use super::stasher::Answer;
use super::state::{FileId, FileState};
use crate::event::{Image, ProcessId, Skipped, Stashed};
use crate::gate::message::{Forget, HandOver};
use crate::ipc;
use crate::text::Bytes;

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

/// How the stash is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files that may wait for the stasher, each with a descriptor of the recorder.
    pub pending: usize,
    /// Keep the scripts that interpreters are given.
    pub scripts: bool,
    /// Keep shared objects from odd places.
    pub libraries: bool,
    /// The recorder's own mount namespace, by its inode number; 0 where it is not known.
    pub mounts: u32,
    /// Accounts that services run as.
    pub accounts: Accounts,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending: 256, scripts: false, libraries: false, mounts: 0, accounts: Accounts::default() }
    }
}

/// What is asked of the stasher at the moment, and what it answered before.
pub struct Stash {
    options: Options,
    stasher: Option<ipc::Channel>,
    gate: Option<ipc::Channel>,
    next: u64,
    pending: HashMap<u64, Pending>,
    /// Of these, not yet sent.
    queue: VecDeque<u64>,
    asked: HashMap<FileState, u64>,
    /// Of the files that are asked for, the newest state.
    asked_files: HashMap<FileId, FileState>,
    known: Known,
    handed: Handed,
    later: Later,
    kinds: Kinds,
    /// What the gate has to hand over again.
    forget: Vec<FileState>,
    /// When the stasher last gave a sign, or was first asked after it owed nothing.
    sign: Option<Instant>,
}

/// As statx(2) gives it.
fn seconds(time: Timestamp) -> (i64, u32) {
    (time.as_second(), time.subsec_nanosecond().try_into().unwrap_or(0))
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
        Self::new(Options::default())
    }
}

impl Stash {
    /// An empty one, that speaks to nobody yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            stasher: None,
            gate: None,
            next: 0,
            pending: HashMap::new(),
            queue: VecDeque::new(),
            asked: HashMap::new(),
            asked_files: HashMap::new(),
            known: Known::new(KNOWN_MAX),
            handed: Handed::default(),
            later: Later::default(),
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

    /// Whom services run as from now on.
    pub fn set_accounts(&mut self, accounts: Accounts) {
        self.options.accounts = accounts;
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
        self.gate.as_ref().filter(|_| self.pending.len() < self.options.pending)
    }

    /// Takes the executable of a process that has just been seen, and the script it runs. What is not returned comes
    /// later.
    pub fn take(&mut self, proc: &Path, process: ProcessId, image: &Image) -> Vec<Kept> {
        let service = self.options.accounts.is_service(image.uid);
        let runner = Runner { process, executable: image.executable.clone(), service };
        let mut claimed = self.handed.claim(process.pid, image);
        let is_known = self.known_as_executed(image).is_some() && !handed::is_indirect(image);
        if claimed.executable.is_none() && self.gate.is_some() && !is_known {
            // The gate hands over before the exec goes on: if it did, the message is there by now.
            self.hand_overs(self.options.pending.saturating_mul(2));
            let handed::Claimed { executable, scripts } = self.handed.claim(process.pid, image);
            claimed.executable = executable;
            claimed.scripts.extend(scripts);
        }
        if self.options.scripts && claimed.scripts.is_empty() {
            self.script(&runner, image);
        }
        if self.options.libraries {
            self.later.insert(process, Instant::now());
        }
        let mut all: Vec<Kept> = Vec::new();
        for (state, executable) in claimed.scripts {
            all.extend(self.claim(&state, Runner { executable, ..runner.clone() }));
        }
        all.extend(match claimed.executable {
            Some((state, executable)) => self.claim(&state, Runner { executable, ..runner }),
            None => self.by_proc(proc, image, runner),
        });
        all
    }

    /// The process ended: what it was about to execute, and did not, is nobody's.
    pub fn ended(&mut self, pid: u32) {
        self.handed.ended(pid);
        self.later.ended(pid);
    }

    /// Takes what the gate has handed over, as long as there is room; looks at processes whose time has come.
    pub fn turn(&mut self, now: Instant) {
        self.hand_overs(self.options.pending);
        while self.pending.len() < self.options.pending
            && let Some(process) = self.later.due(now)
        {
            let runner = Runner { process, executable: Bytes::default(), service: false };
            self.ask(What::Libraries, None, Bytes::default(), vec![runner]);
        }
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
            all.extend(self.answered(answer));
        }
        self.pump();
        Ok(all)
    }

    fn answered(&mut self, answer: Answer) -> Vec<Kept> {
        match answer {
            Answer::Kept { ticket, sha256, size } => {
                self.settled(ticket, Outcome::Kept { sha256, size }, false)
            }
            Answer::Skipped { ticket, reason } => {
                self.settled(ticket, Outcome::Skipped { reason, said: false }, false)
            }
            Answer::Failed { ticket, reason, again } => {
                self.settled(ticket, Outcome::Failed { reason }, again)
            }
            Answer::Library { ticket, path, sha256, size } => {
                let runner = self.pending.get(&ticket).and_then(|pending| pending.runners.first());
                let process = runner.map(|runner| runner.process);
                let stashed = Stashed { sha256, size, executable: path };
                process.map(|process| Kept::Yes(process, stashed)).into_iter().collect()
            }
            Answer::Done { ticket } => {
                self.pending.remove(&ticket);
                Vec::new()
            }
            Answer::Evicted { sha256 } => {
                let gone = self.known.forget_contents(&sha256);
                self.forget.extend(gone);
                Vec::new()
            }
        }
    }

    /// Takes what the gate has handed over, as long as fewer than `limit` files wait.
    fn hand_overs(&mut self, limit: usize) {
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
                && (written || !self.is_asked_or_known(&state))
            {
                self.ask(What::File(file), Some(state), path, Vec::new());
            }
        }
        self.tell_gate();
    }

    /// The state of the very file that the kernel executed, where it is known, or asked for, in that state.
    fn known_as_executed(&self, image: &Image) -> Option<FileState> {
        let file = (image.device, image.inode);
        let changed = Some(seconds(image.changed?));
        let states = [self.asked_files.get(&file).copied(), self.known.state(file)];
        states.into_iter().flatten().find(|state| state.changed == changed)
    }

    /// Without a word of the gate: by what is known of the very file that the kernel executed, or else by /proc, while the
    /// process lives.
    fn by_proc(&mut self, proc: &Path, image: &Image, runner: Runner) -> Option<Kept> {
        if let Some(state) = self.known_as_executed(image) {
            return self.claim(&state, runner);
        }
        let no = |runner: Runner, reason| Some(Kept::No(runner.process, runner.executable, reason));
        let (file, state): (OwnedFd, FileState) =
            match handle(proc, runner.process.pid, image, &mut self.kinds) {
                Ok(opened) => opened,
                Err(reason) => {
                    // The gate had nothing new to say of it.
                    let file = (image.device, image.inode);
                    let known = self.gate.as_ref().and_then(|_| self.known.state(file));
                    return match known.filter(|state| state.inode != 0) {
                        Some(state) => self.claim(&state, runner),
                        None => no(runner, reason),
                    };
                }
            };
        if self.stasher.is_none() {
            return no(runner, "the stasher does not run".to_owned());
        }
        if !self.is_asked_or_known(&state) {
            let most = self.options.pending;
            if self.pending.len() >= most {
                return no(runner, format!("{most} files wait for the stasher already"));
            }
            self.ask(What::File(file), Some(state), runner.executable.clone(), Vec::new());
        }
        self.claim(&state, runner)
    }

    /// Asks for the script of an interpreter. This is best effort: there must be room to spare.
    fn script(&mut self, runner: &Runner, image: &Image) {
        let Some(path) = script::script(image) else { return };
        if self.stasher.is_some() && self.pending.len() < self.options.pending / 2 {
            let ours = image.namespaces.mnt != 0 && image.namespaces.mnt == self.options.mounts;
            let runner = Runner { executable: path.clone(), ..runner.clone() };
            self.ask(What::Script { ours, always: runner.service }, None, path, vec![runner]);
        }
    }

    /// A question is settled; what that means for the processes it is about. With `again` it is taken anew next time.
    fn settled(&mut self, ticket: u64, mut outcome: Outcome, again: bool) -> Vec<Kept> {
        let Some(Pending { state, path, runners, .. }) = self.pending.remove(&ticket) else {
            return Vec::new();
        };
        let size = state.map_or(0, |state| state.size);
        let is_skipped = matches!(outcome, Outcome::Skipped { .. });
        let (services, others): (Vec<_>, Vec<_>) =
            runners.into_iter().partition(|runner| is_skipped && runner.service);
        let all = others.into_iter().filter_map(|runner| kept(&mut outcome, size, runner)).collect();
        let Some(state) = state else { return all };
        // Unless it was written to and asked for again meanwhile, in what looks like the same state.
        if self.asked.get(&state) == Some(&ticket) {
            self.asked.remove(&state);
            if self.asked_files.get(&state.file()) == Some(&state) {
                self.asked_files.remove(&state.file());
            }
        }
        if again {
            self.forget.push(state);
        } else {
            let forgotten = self.known.insert(state, outcome);
            self.forget.extend(forgotten);
        }
        if !services.is_empty() {
            self.ask(What::Owned, Some(state), path, services);
        }
        all
    }

    /// This process runs that file.
    fn claim(&mut self, state: &FileState, runner: Runner) -> Option<Kept> {
        if let Some(pending) = self.asked.get(state).and_then(|ticket| self.pending.get_mut(ticket)) {
            if pending.runners.len() < PROCESSES_MAX {
                pending.runners.push(runner);
                return None;
            }
            let reason = "too many processes wait for its file".to_owned();
            return Some(Kept::No(runner.process, runner.executable, reason));
        }
        match self.known.get(state) {
            Some(Outcome::Skipped { .. }) if runner.service => {
                self.ask(What::Owned, Some(*state), runner.executable.clone(), vec![runner]);
                None
            }
            Some(outcome) => kept(outcome, state.size, runner),
            None => {
                let reason = "its file could not be kept when it was handed over".to_owned();
                Some(Kept::No(runner.process, runner.executable, reason))
            }
        }
    }

    fn is_asked_or_known(&mut self, state: &FileState) -> bool {
        self.asked.contains_key(state) || self.known.get(state).is_some()
    }

    fn ask(&mut self, what: What, state: Option<FileState>, path: Bytes, runners: Vec<Runner>) {
        let ticket = self.next;
        self.next = self.next.wrapping_add(1);
        if self.pending.is_empty() {
            self.sign = Some(Instant::now());
        }
        self.pending.insert(ticket, Pending { what, state, path, runners, tries: 0 });
        if let Some(state) = state {
            self.asked.insert(state, ticket);
            self.asked_files.insert(state.file(), state);
        }
        self.queue.push_back(ticket);
        self.pump();
    }

    /// Sends what waits, as long as the stasher takes it.
    fn pump(&mut self) {
        while let (Some(ticket), Some(channel)) = (self.queue.front().copied(), &self.stasher) {
            if let Some(pending) = self.pending.get_mut(&ticket)
                && let Some(ask) = pending.ask(ticket)
            {
                let file: Vec<_> = pending.file().into_iter().collect();
                if channel.try_send(&ask, &file).is_err() {
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
fn kept(outcome: &mut Outcome, size: u64, runner: Runner) -> Option<Kept> {
    let Runner { process, executable, .. } = runner;
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
