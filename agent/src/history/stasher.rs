//! The stasher: an expendable process that hashes, compresses and keeps the files it is handed.
//!
//! Executables come as descriptors; scripts and shared objects it looks for itself, where a name may lead anywhere. A
//! file it cannot finish costs that file, not the recorder. Files are named, and answered, in batches: many small ones
//! share one wait for the disk.

mod batch;
mod copy;
mod find;
mod shelf;
mod work;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

pub use self::find::Places;
use self::work::Worker;
use super::state::FileState;
use crate::event::ProcessId;
use crate::ipc;
use crate::text::Bytes;

/// The longest that a file waits for others to share the disk with.
const BATCH: Duration = Duration::from_millis(100);
/// Files that share one wait for the disk.
const BATCH_FILES: usize = 512;

/// How often, and how far apart, a capture tries to hold the stash.
const HOLD_TRIES: usize = 50;
const HOLD_PAUSE: Duration = Duration::from_millis(20);

/// Bounds of the stash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes on disk, compressed; the least suspicious and oldest file goes first.
    pub bytes: u64,
    /// Bytes of one file, plain; a larger one is not kept.
    pub file_bytes: u64,
    /// Leave out what the distribution's packages brought, unless it is odd or a service runs it.
    pub skip_packages: bool,
    /// A file that was written in the last minutes is always kept.
    pub recent_minutes: u32,
    /// Keep the scripts that interpreters are given.
    pub scripts: bool,
    /// Keep shared objects from places where others than root can have put them.
    pub libraries: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            file_bytes: 256 << 20,
            skip_packages: true,
            recent_minutes: 10,
            scripts: true,
            libraries: true,
        }
    }
}

/// What is asked of the stasher.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// An executable to keep; its descriptor travels along.
    File {
        /// Returned with the answer.
        ticket: u64,
        /// The path it is run by.
        path: Bytes,
    },
    /// An executable of a package that was left out before.
    Owned {
        /// Returned with the answer.
        ticket: u64,
        /// Its path, which the package has.
        path: Bytes,
        /// It must still be in this state.
        state: FileState,
    },
    /// The script that a process runs.
    Script {
        /// Returned with the answer.
        ticket: u64,
        /// Which process.
        process: ProcessId,
        /// Absolute, in the process's own mounts.
        path: Bytes,
        /// The process's mounts are ours.
        ours: bool,
        /// Keep it, even if a package brought it.
        always: bool,
    },
    /// The shared objects that a process has mapped.
    Libraries {
        /// Returned with the answer.
        ticket: u64,
        /// Which process.
        process: ProcessId,
    },
}

impl Ask {
    /// Its number.
    pub fn ticket(&self) -> u64 {
        match *self {
            Self::File { ticket, .. }
            | Self::Owned { ticket, .. }
            | Self::Script { ticket, .. }
            | Self::Libraries { ticket, .. } => ticket,
        }
    }
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is in the stash.
    Kept {
        /// Of the question.
        ticket: u64,
        /// SHA-256 of the plain file in hexadecimal.
        sha256: String,
        /// Plain bytes.
        size: u64,
    },
    /// It is left out on purpose.
    Skipped {
        /// Of the question.
        ticket: u64,
        /// Why, in words.
        reason: String,
    },
    /// It could not be kept.
    Failed {
        /// Of the question.
        ticket: u64,
        /// Why, in words.
        reason: String,
        /// Whether another attempt may succeed.
        again: bool,
    },
    /// A shared object is in the stash; others may follow.
    Library {
        /// Of the question.
        ticket: u64,
        /// The path it was mapped by.
        path: Bytes,
        /// SHA-256 of the plain file in hexadecimal.
        sha256: String,
        /// Plain bytes.
        size: u64,
    },
    /// There is no more to say.
    Done {
        /// Of the question.
        ticket: u64,
    },
    /// These had to go to make room.
    Evicted {
        /// SHA-256 of the plain files in hexadecimal.
        sha256: Vec<String>,
    },
}

/// Why a file could not be kept.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {step} {path}: {source}")]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    #[error("the file is larger than {0} bytes (stash.file_bytes)")]
    TooLarge(u64),
    #[error("it was written to while it was read: no content of one moment")]
    Changed,
    #[error("no descriptor came with the request")]
    NoDescriptor,
    #[error("it lies on a file system whose answers can take for ever (network or FUSE)")]
    Remote,
    #[error("it is not a regular file")]
    NoFile,
    #[error("the process has ended")]
    Gone,
    #[error("the stash is full (stash.bytes), and a capture that runs holds what is in it")]
    Held,
}

fn error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { step, path, source }
}

/// Keeps what is in the stash there, as long as the answer lives: for a capture that reads it. `None` where there is no
/// stash, or room is being made at this moment and for longer than a second.
pub fn hold(folder: &Path) -> Option<Flock<File>> {
    let mut file = File::open(folder).ok()?;
    for _ in 0..HOLD_TRIES {
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(held) => return Some(held),
            Err((again, _)) => file = again,
        }
        std::thread::sleep(HOLD_PAUSE);
    }
    tracing::warn!("{} cannot be held: files may go while they are read", folder.display());
    None
}

/// Answers until the recorder closes the channel.
pub fn serve(
    channel: &ipc::Channel,
    folder: &Path,
    limits: &Limits,
    places: &Places,
) -> Result<(), ipc::Error> {
    let mut worker = match Worker::open(folder, limits, places) {
        Ok(worker) => worker,
        Err(failure) => return refuse_all(channel, &failure.to_string()),
    };
    let mut begun = None;
    loop {
        match next(channel, begun.map(|begun: Instant| BATCH.saturating_sub(begun.elapsed())))? {
            Next::End => return worker.commit(channel),
            Next::Nothing => {}
            Next::Ask(ask, files) => {
                begun.get_or_insert_with(Instant::now);
                worker.take(ask, files);
            }
        }
        let is_due = begun.is_some_and(|begun| begun.elapsed() >= BATCH);
        if is_due || worker.waiting() >= BATCH_FILES {
            worker.commit(channel)?;
            begun = None;
        }
    }
}

enum Next {
    Ask(Ask, Vec<OwnedFd>),
    Nothing,
    End,
}

/// The next question; with a timeout, `Nothing` when none comes.
fn next(channel: &ipc::Channel, timeout: Option<Duration>) -> Result<Next, ipc::Error> {
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        PollTimeout::from(u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX))
    });
    match poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(0) | Err(Errno::EINTR) => return Ok(Next::Nothing),
        Ok(_) => {}
        Err(errno) => return Err(ipc::Error::Io { step: "wait for files", source: errno.into() }),
    }
    match channel.try_recv::<Ask>() {
        Ok(Some((ask, files))) => Ok(Next::Ask(ask, files)),
        Ok(None) => Ok(Next::End),
        Err(ipc::Error::WouldBlock) => Ok(Next::Nothing),
        Err(failure) => Err(failure),
    }
}

/// There is no stash: every file is told so.
fn refuse_all(channel: &ipc::Channel, reason: &str) -> Result<(), ipc::Error> {
    while let Some((ask, _)) = channel.recv::<Ask>()? {
        let ticket = ask.ticket();
        channel.send(&Answer::Failed { ticket, reason: reason.to_owned(), again: true }, &[])?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "stasher/stasher_test.rs"]
mod tests;
