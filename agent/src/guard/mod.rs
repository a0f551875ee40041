//! The guard: a small process that stops what a collector asks it to stop, and lets it go again, in time, whatever
//! becomes of the collector.
//!
//! What holds a process by itself when its holder dies (a stop signal, a frozen cgroup) is set and lifted by nobody
//! else. A ptrace stop is lifted by the kernel with the end of the tracer: a tracer that does not let go in time (it hangs,
//! somebody has stopped it) is ended.

mod client;
mod hold;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

pub use self::client::{Guard, Released};
pub use self::hold::Hold;
use crate::ipc::{self, Channel};
use crate::system::pidfd;

/// The longest that a guard holds anything, whatever it is asked.
const LONGEST: Duration = Duration::from_mins(1);

/// Why a guard cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel to the collector.
    #[error(transparent)]
    Ipc(#[from] ipc::Error),
    /// Waiting failed.
    #[error("cannot wait for the collector: {0}")]
    Wait(#[from] Errno),
    /// It could not be started.
    #[error("cannot start the guard: {0}")]
    Start(std::io::Error),
    /// It has ended, or does not answer in its time.
    #[error("the guard does not answer")]
    Silent,
    /// It could not stop what it was asked to.
    #[error("{0}")]
    Refused(String),
}

/// What a collector asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// Stop this (its descriptor comes along), for so many milliseconds at most.
    Hold { hold: Hold, ms: u64 },
    /// Let it go.
    Release,
    /// The collector is about to trace, for so many milliseconds at most. No answer.
    Trace { ms: u64 },
    /// It traces one process less. No answer.
    Traced,
}

/// What the guard answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// It is being stopped, or why not.
    Holds(Result<(), String>),
    /// It runs again, after so many microseconds.
    Released { micros: u64, in_time: bool },
}

/// What is held now.
struct Held {
    hold: Hold,
    object: OwnedFd,
    since: Instant,
    until: Instant,
    /// When it was let go, because its time was over.
    over: Option<Duration>,
}

/// What the guard looks after.
#[derive(Default)]
struct Watch {
    held: Option<Held>,
    /// Processes that the collector traces, and until when.
    traced: usize,
    until: Option<Instant>,
}

/// The guard's work, until the collector ends; then nothing is held any more.
pub fn serve(channel: &Channel, collector: &OwnedFd) -> Result<(), Error> {
    survive();
    let mut watch = Watch::default();
    loop {
        let outcome = wait(channel, watch.patience())
            .and_then(|said| if said { watch.hear(channel) } else { Ok(true) });
        watch.in_time(collector);
        if !matches!(outcome, Ok(true)) {
            if let Some(held) = watch.held.as_mut().filter(|held| held.over.is_none()) {
                held.let_go();
                tracing::warn!(hold = ?held.hold, "the collector ended while it held this; it was let go");
            }
            return outcome.map(drop);
        }
    }
}

impl Watch {
    /// How long nothing has to be done.
    fn patience(&self) -> Option<Duration> {
        let held = self.held.as_ref().filter(|held| held.over.is_none()).map(|held| held.until);
        let first = held.into_iter().chain(self.until).min();
        first.map(|first| first.saturating_duration_since(Instant::now()))
    }

    /// Lets go what has been held long enough.
    fn in_time(&mut self, collector: &OwnedFd) {
        let now = Instant::now();
        if let Some(held) = self.held.as_mut().filter(|held| held.over.is_none() && held.until <= now) {
            held.let_go();
        }
        if self.until.is_some_and(|until| until <= now) {
            tracing::error!("the collector does not let go what it traces; it is ended");
            self.until = None;
            if let Err(failure) = pidfd::signal(collector.as_fd(), libc::SIGKILL) {
                tracing::error!("cannot end the collector: {failure}");
            }
        }
    }

    /// Does what the collector asks; false when it has ended.
    fn hear(&mut self, channel: &Channel) -> Result<bool, Error> {
        let Some((ask, descriptors)) = channel.recv::<Ask>()? else { return Ok(false) };
        match ask {
            Ask::Hold { hold, ms } => {
                channel.send(&Answer::Holds(begin(&mut self.held, hold, descriptors, ms)), &[])?;
            }
            Ask::Release => channel.send(&release(&mut self.held), &[])?,
            Ask::Trace { ms } => {
                let until = Instant::now() + Duration::from_millis(ms).min(LONGEST);
                self.traced = self.traced.saturating_add(1);
                self.until = Some(self.until.map_or(until, |earlier| earlier.max(until)));
            }
            Ask::Traced => {
                self.traced = self.traced.saturating_sub(1);
                self.until = self.until.filter(|_| self.traced > 0);
            }
        }
        Ok(true)
    }
}

/// Who ends the agent's processes in good order ends the collector too; the guard ends after it.
fn survive() {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    if let Err(failure) = signals.thread_block() {
        tracing::warn!("a signal that ends the agent would end its guard too: {failure}");
    }
}

/// Whether the collector has said something, or ended, within `patience`.
fn wait(channel: &Channel, patience: Option<Duration>) -> Result<bool, Error> {
    let timeout = patience.map_or(PollTimeout::NONE, |left| {
        // Rounded up: a wait of 0 ms would spin through the last millisecond.
        PollTimeout::from(u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX))
    });
    match poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

fn release(held: &mut Option<Held>) -> Answer {
    let Some(mut held) = held.take() else { return Answer::Released { micros: 0, in_time: true } };
    let in_time = held.over.is_none();
    let time = held.over.unwrap_or_else(|| held.let_go());
    Answer::Released { micros: u64::try_from(time.as_micros()).unwrap_or(u64::MAX), in_time }
}

fn begin(held: &mut Option<Held>, how: Hold, descriptors: Vec<OwnedFd>, ms: u64) -> Result<(), String> {
    if held.is_some() {
        return Err("the guard holds something already".to_owned());
    }
    let object = descriptors.into_iter().next().ok_or("no descriptor came along")?;
    let since = Instant::now();
    let until = since + Duration::from_millis(ms).min(LONGEST);
    let new = held.insert(Held { hold: how, object, since, until, over: None });
    how.begin(new.object.as_fd()).map_err(|failure| {
        // It may have taken hold in part.
        if let Some(mut failed) = held.take() {
            failed.let_go();
        }
        failure.to_string()
    })
}

impl Held {
    /// Lets it go; for how long it was held.
    fn let_go(&mut self) -> Duration {
        if let Err(failure) = self.hold.end(self.object.as_fd()) {
            tracing::error!(hold = ?self.hold, "cannot let go what was held: {failure}");
        }
        *self.over.insert(self.since.elapsed())
    }
}

#[cfg(test)]
#[path = "guard_test.rs"]
mod tests;
