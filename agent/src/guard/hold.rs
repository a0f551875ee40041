//! What can be held so that it stays held when its holder dies.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::unistd::write;
use serde::{Deserialize, Serialize};

use crate::system::pidfd;

/// How something is held, and what its descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// A process, by SIGSTOP: a pidfd.
    Signal,
    /// A cgroup of the unified hierarchy: its `cgroup.freeze`, open for writing.
    Cgroup2,
    /// A cgroup of a freezer's own hierarchy: its `freezer.state`, open for writing.
    Cgroup1,
}

impl Hold {
    /// Begins to stop it; that is done only when everything in it stands.
    pub fn begin(self, object: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Signal => pidfd::signal(object, libc::SIGSTOP),
            Self::Cgroup2 => set(object, b"1"),
            Self::Cgroup1 => set(object, b"FROZEN"),
        }
    }

    /// Lets it go; what has ended meanwhile is let go too.
    pub fn end(self, object: BorrowedFd<'_>) -> io::Result<()> {
        let outcome = match self {
            Self::Signal => pidfd::signal(object, libc::SIGCONT),
            Self::Cgroup2 => set(object, b"0"),
            Self::Cgroup1 => set(object, b"THAWED"),
        };
        match outcome {
            // ESRCH: the process ended; ENODEV: the cgroup was removed.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
            outcome => outcome,
        }
    }
}

fn set(file: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    nix::unistd::lseek(file, 0, nix::unistd::Whence::SeekSet)?;
    match write(file, value)? {
        written if written == value.len() => Ok(()),
        _ => Err(io::Error::other(format!("descriptor {} took a part only", file.as_raw_fd()))),
    }
}
