//! The stasher: an expendable process that hashes, compresses and keeps the files it is handed.
//!
//! It gets descriptors, never paths. A file it cannot finish costs that file, not the recorder. Files are named, and
//! answered, in batches: many small ones share one wait for the disk.

mod batch;
mod copy;
mod shelf;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use self::batch::Keeper;
use crate::ipc;
use crate::text::Bytes;

/// The longest that a file waits for others to share the disk with.
const BATCH: Duration = Duration::from_millis(100);
/// Files that share one wait for the disk.
const BATCH_FILES: usize = 512;

/// Bounds of the stash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes on disk, compressed; the least suspicious and oldest file goes first.
    pub bytes: u64,
    /// Bytes of one file, plain; a larger one is not kept.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 2 << 30, file_bytes: 256 << 20 }
    }
}

/// What is asked of the stasher.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// One file to keep; its descriptor travels along.
    File {
        /// Returned with the answer.
        ticket: u64,
        /// The path it is run by.
        path: Bytes,
        /// Take it, whatever the policy says.
        always: bool,
    },
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
        /// Hashes of files that had to go for it.
        evicted: Vec<String>,
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
    #[error("the stash is full (stash.bytes), and a capture that runs holds what is in it")]
    Held,
}

fn error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { step, path, source }
}

/// Answers until the recorder closes the channel.
pub fn serve(channel: &ipc::Channel, folder: &Path, limits: &Limits) -> Result<(), ipc::Error> {
    let mut keeper = match Keeper::open(folder, limits) {
        Ok(keeper) => keeper,
        Err(failure) => return refuse_all(channel, &failure.to_string()),
    };
    let mut begun = None;
    loop {
        match next(channel, begun.map(|begun: Instant| BATCH.saturating_sub(begun.elapsed())))? {
            Next::End => return keeper.commit(channel),
            Next::Nothing => {}
            Next::Ask(ask, files) => {
                begun.get_or_insert_with(Instant::now);
                keeper.take(&ask, files);
            }
        }
        let is_due = begun.is_some_and(|begun| begun.elapsed() >= BATCH);
        if is_due || keeper.waiting() >= BATCH_FILES {
            keeper.commit(channel)?;
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
    while let Some((Ask::File { ticket, .. }, _)) = channel.recv::<Ask>()? {
        channel.send(&Answer::Failed { ticket, reason: reason.to_owned(), again: true }, &[])?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "stasher/stasher_test.rs"]
mod tests;
