//! A collector's side of its guard.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::process::Child;
use std::time::Duration;

use super::{Answer, Ask, Error, Hold};
use crate::ipc::Channel;
use crate::system::spawn;

/// How long the guard may take for an answer: it writes a few bytes into a file, or sends a signal.
const PATIENCE: Duration = Duration::from_secs(2);

/// A guard of our own. When this is dropped, or ends with us, the guard lets go what it holds and ends.
#[derive(Debug)]
pub struct Guard {
    channel: Channel,
    child: Child,
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
        let child = spawn::survivor(&[OsStr::new("guard")], &[theirs.into()]).map_err(Error::Start)?;
        Ok(Self { channel: ours, child })
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
        if let Ok(None) = self.child.try_wait() {
            tracing::debug!(pid = self.child.id(), "the guard ends after us");
        }
    }
}
