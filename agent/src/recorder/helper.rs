//! A helper process of the recorder: started, and started again when it ends, but not in a frenzy.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::ipc::Channel;
use crate::system::spawn;

/// The least time between two starts.
const PAUSE: Duration = Duration::from_secs(2);

/// One helper: the subcommand `name`, which finds its channel at descriptor 3.
pub(super) struct Helper {
    name: &'static str,
    arguments: Vec<OsString>,
    /// Whether it has something to do when the recorder has ended.
    survives: bool,
    child: Option<Child>,
    started: Option<Instant>,
    /// Killed, and not seen to have ended yet.
    ended: Vec<Child>,
}

impl Helper {
    /// A helper that does not run yet.
    pub(super) fn new(name: &'static str, arguments: Vec<OsString>) -> Self {
        Self { name, arguments, survives: false, child: None, started: None, ended: Vec::new() }
    }

    /// One that sees the recorder's end and outlives it.
    pub(super) fn survivor(name: &'static str) -> Self {
        Self { survives: true, ..Self::new(name, Vec::new()) }
    }

    /// Starts it, unless it was started a moment ago; the recorder's end of the channel.
    pub(super) fn restart(&mut self, now: Instant) -> Option<Channel> {
        if self.may_start(now) { self.start() } else { None }
    }

    /// Whether the last start is long enough ago.
    pub(super) fn may_start(&self, now: Instant) -> bool {
        self.started.is_none_or(|started| now.saturating_duration_since(started) >= PAUSE)
    }

    /// Starts it; the recorder's end of the channel. A failure is in the log.
    pub(super) fn start(&mut self) -> Option<Channel> {
        self.start_with(None)
    }

    /// Starts it with one more descriptor, at number 4.
    pub(super) fn start_with(&mut self, descriptor: Option<OwnedFd>) -> Option<Channel> {
        self.end();
        self.started = Some(Instant::now());
        let (ours, theirs) = match Channel::pair() {
            Ok(pair) => pair,
            Err(failure) => {
                tracing::error!("the {} cannot be started: {failure}", self.name);
                return None;
            }
        };
        let mut arguments = vec![OsStr::new(self.name)];
        arguments.extend(self.arguments.iter().map(OsString::as_os_str));
        let descriptors: Vec<OwnedFd> = [theirs.into()].into_iter().chain(descriptor).collect();
        let started = if self.survives {
            spawn::survivor(&arguments, &descriptors)
        } else {
            spawn::ourselves(&arguments, &descriptors, Stdio::null(), Stdio::null())
        };
        match started {
            Ok(child) => self.child = Some(child),
            Err(failure) => {
                tracing::error!("the {} cannot be started: {failure}", self.name);
                return None;
            }
        }
        Some(ours)
    }

    /// Its pid, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it. One that hangs in the kernel cannot be waited for: it is looked after at the next start.
    pub(super) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Err(failure) = child.kill() {
                tracing::warn!("the old {} cannot be killed: {failure}", self.name);
            }
            self.ended.push(child);
        }
        self.ended.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}
