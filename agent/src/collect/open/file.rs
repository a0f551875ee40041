//! Reading files that an attacker may have chosen: looked at before they are opened, opened without waiting, never
//! more of them than was asked for.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::collect::attempts::{Found, Miss, Room, read_bounded};
use crate::collect::system::{Attributes, statx};
use crate::proc::mounts;

/// Devices of file systems whose server may never answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::collect) struct Remote(HashSet<(u32, u32)>);

impl Remote {
    /// Those that a `mountinfo` names.
    pub(in crate::collect) fn of(mountinfo: &[u8]) -> Self {
        Self(mounts(mountinfo).iter().filter(|mount| mount.is_remote()).map(|mount| mount.device).collect())
    }

    pub(in crate::collect) fn has(&self, device: (u32, u32)) -> bool {
        self.0.contains(&device)
    }
}

/// What `path`, a path descriptor, stands for, if it may be opened: a regular file of a local file system.
pub(in crate::collect) fn regular(path: &OwnedFd, remote: &Remote) -> Result<Attributes, Miss> {
    let attributes = statx(path, c"").map_err(|error| Miss::at("stat", &error))?;
    if !attributes.is_file() {
        return Err(Miss::refused(format!("a {} and not a regular file", attributes.kind())));
    }
    if remote.has(attributes.device) {
        return Err(Miss::refused("on a network or user-space file system, which may never answer"));
    }
    Ok(attributes)
}

/// Opens what a path descriptor stands for, whatever its name is by now, without waiting for anybody (a lease makes it
/// `timed_out`) and without changing its time of last access, where the kernel allows that.
#[expect(clippy::disallowed_methods, reason = "it is a descriptor of our own, whose file was looked at")]
pub(in crate::collect) fn reopen(path: &OwnedFd) -> Result<File, Miss> {
    let own = format!("/proc/self/fd/{}", path.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = match open(own.as_str(), flags | OFlag::O_NOATIME, Mode::empty()) {
        Err(Errno::EPERM) => open(own.as_str(), flags, Mode::empty()),
        result => result,
    };
    Ok(opened.map_err(|errno| Miss::at("open", &errno.into()))?.into())
}

/// The beginning of what a path descriptor stands for, and whether that is all of it.
pub(in crate::collect) fn text(path: &OwnedFd, remote: &Remote, max: u64) -> Result<(Vec<u8>, bool), Miss> {
    regular(path, remote)?;
    read_bounded(reopen(path)?, max).map_err(|error| Miss::at("read", &error))
}

/// A file from its beginning, as far as the budget of one file goes.
pub(in crate::collect) fn whole(file: File, size: u64, room: Room) -> Result<Found<'static>, Miss> {
    let limit = room.file.min(room.bytes);
    if size > 0 && limit == 0 {
        return Err(Miss::new(crate::bundle::Outcome::OverBudget, format!("{size} bytes")));
    }
    let lack = (size > limit).then(|| Miss::partial(format!("the first {limit} of {size} bytes")));
    let size = size.min(limit);
    Ok(Found::stream(file.take(size), size).lacking(lack))
}

#[cfg(test)]
#[path = "file_test.rs"]
mod tests;
