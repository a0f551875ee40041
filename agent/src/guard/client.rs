//! A collector's side of its guard.

#[cfg(not(test))]
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use super::{Answer, Ask, Error, Hold};
use crate::ipc::Channel;
use crate::system::pidfd;
#[cfg(not(test))]
use crate::system::spawn;

/// How long the guard may take for an answer: it writes a few bytes into a file, or sends a signal.
const PATIENCE: Duration = Duration::from_secs(2);

/// A guard of our own. When this is dropped, or ends with us, the guard lets go what it holds and ends.
#[derive(Debug)]
pub struct Guard {
    channel: Channel,
    child: Option<Child>,
}

/// How it was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// For how long.
    pub time: Duration,
    /// Whether it was let go because we asked, and not because its time was over.
    pub in_time: bool,
}

impl Guard {
    /// Starts one.
    pub fn start() -> Result<Self, Error> {
        let (ours, theirs) = Channel::pair()?;
        ours.set_timeout(PATIENCE)?;
        let ourselves = pidfd::open(std::process::id()).map_err(Error::Start)?;
        Ok(Self { channel: ours, child: process(theirs, ourselves)? })
    }

    /// A process is about to be traced, for `time` at most: if it is not let go by then, the guard ends us.
    pub fn trace(&self, time: Duration) -> Result<(), Error> {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(self.channel.send(&Ask::Trace { ms }, &[])?)
    }

    /// It was let go.
    pub fn traced(&self) -> Result<(), Error> {
        Ok(self.channel.send(&Ask::Traced, &[])?)
    }

    /// Has `object` stopped, for `pause` at most.
    pub fn hold(&self, hold: Hold, object: BorrowedFd<'_>, pause: Duration) -> Result<(), Error> {
        let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.channel.send(&Ask::Hold { hold, ms }, &[object])?;
        match self.channel.recv::<Answer>()? {
            Some((Answer::Holds(outcome), _)) => outcome.map_err(Error::Refused),
            Some((Answer::Released { .. }, _)) | None => Err(Error::Silent),
        }
    }

    /// Has it let go, if it is not already.
    pub fn release(&self) -> Result<Released, Error> {
        self.channel.send(&Ask::Release, &[])?;
        match self.channel.recv::<Answer>()? {
            Some((Answer::Released { micros, in_time }, _)) => {
                Ok(Released { time: Duration::from_micros(micros), in_time })
            }
            Some((Answer::Holds(_), _)) | None => Err(Error::Silent),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.channel.shut_down();
        // It ends by itself; one that does not is nobody's to wait for.
        if let Some(child) = &mut self.child
            && let Ok(None) = child.try_wait()
        {
            tracing::debug!(pid = child.id(), "the guard ends after us");
        }
    }
}

#[cfg(not(test))]
fn process(channel: Channel, collector: OwnedFd) -> Result<Option<Child>, Error> {
    let guard = spawn::survivor(&[OsStr::new("guard")], &[channel.into(), collector]);
    guard.map(Some).map_err(Error::Start)
}

/// In tests the executable is not ours: a thread does the same.
#[cfg(test)]
fn process(channel: Channel, collector: OwnedFd) -> Result<Option<Child>, Error> {
    let guard = move || drop(super::serve(&channel, &collector));
    std::thread::Builder::new().spawn(guard).map(|_| None).map_err(Error::Start)
}
