//! Which files may be opened at all: those of file systems that are mounted in sight and that answer by themselves, and
//! the kernel's own memory files. A descriptor can lead to a file system that is mounted nowhere any more, whose server
//! never answers.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::mounts::mountinfo;
use crate::collect::attempts::Miss;
use crate::collect::exe::MOUNTINFO_MAX;
use crate::collect::procdir::ProcDir;
use crate::collect::system::{Attributes, statx};
use crate::proc::mounts;

/// Why a file is not opened.
pub(in crate::collect) const REMOTE: &str = "on a network or user-space file system, which may never answer";

/// Mounts by their number: whether they are remote. The numbers are the same in all mount namespaces.
#[derive(Debug, Default)]
struct Mounts {
    remote: HashMap<u64, bool>,
    /// Where the remote ones are.
    barred: HashSet<Vec<u8>>,
}

impl Mounts {
    fn of(mountinfo: &[u8]) -> Self {
        let mut found = Self::default();
        for mount in mounts(mountinfo) {
            let remote = mount.is_remote();
            found.remote.insert(u64::from(mount.id), remote);
            if remote {
                found.barred.insert(mount.point.0);
            }
        }
        found
    }
}

/// What the collector sees.
#[derive(Debug)]
pub(in crate::collect) struct Sight {
    own: Mounts,
    /// Devices of the kernel's own mounts for memfds and shared memory, which no `mountinfo` lists.
    memory: Vec<(u32, u32)>,
}

impl Sight {
    /// `proc` tells what is mounted where.
    pub(in crate::collect) fn new(proc: &Path) -> Self {
        let flags = [MFdFlags::MFD_CLOEXEC, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB];
        let device = |flags| statx(memfd_create("", flags).ok()?, c"").ok().map(|found| found.device);
        Self { own: Mounts::of(&mountinfo(proc)), memory: flags.into_iter().filter_map(device).collect() }
    }

    /// With the mounts of a process.
    pub(in crate::collect) fn of(&self, dir: &ProcDir) -> View<'_> {
        let text = dir.text("mountinfo", MOUNTINFO_MAX).map(|(text, _)| text).unwrap_or_default();
        View { sight: self, theirs: Mounts::of(&text) }
    }
}

/// The same, and what a process sees.
#[derive(Debug)]
pub(in crate::collect) struct View<'a> {
    sight: &'a Sight,
    theirs: Mounts,
}

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::collect) enum Lies {
    /// On a file system that answers by itself.
    Local,
    /// Nowhere: a memfd, shared memory.
    Memory,
    /// On one whose server may never answer.
    Remote,
    /// On one that is mounted nowhere in sight.
    Unseen,
}

impl Lies {
    pub(in crate::collect) fn may_be_opened(self) -> Result<(), Miss> {
        match self {
            Self::Local | Self::Memory => Ok(()),
            Self::Remote => Err(Miss::refused(REMOTE)),
            Self::Unseen => Err(Miss::refused(
                "on a file system that is mounted nowhere in sight, which may never answer",
            )),
        }
    }
}

impl View<'_> {
    pub(in crate::collect) fn lies(&self, file: &Attributes) -> Lies {
        let known = |mount| self.theirs.remote.get(&mount).or_else(|| self.sight.own.remote.get(&mount));
        match file.mount.and_then(known) {
            _ if self.is_memory(file.device) => Lies::Memory,
            Some(false) => Lies::Local,
            Some(true) => Lies::Remote,
            None => Lies::Unseen,
        }
    }

    /// Whether it is the device of memfds and shared memory.
    pub(in crate::collect) fn is_memory(&self, device: (u32, u32)) -> bool {
        self.sight.memory.contains(&device)
    }

    /// What `path`, a path descriptor, stands for, if it may be opened.
    pub(in crate::collect) fn regular(&self, path: &OwnedFd) -> Result<Attributes, Miss> {
        let attributes = statx(path, c"").map_err(|error| Miss::at("stat", &error))?;
        if !attributes.is_file() {
            return Err(Miss::refused(format!("a {} and not a regular file", attributes.kind())));
        }
        self.lies(&attributes).may_be_opened().map(|()| attributes)
    }

    /// Whether looking `path` up in the process's root could ask a server that may never answer.
    pub(in crate::collect) fn is_barred(&self, path: &[u8]) -> bool {
        let mut ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let barred =
            |folder: &[u8]| self.theirs.barred.contains(folder) || self.sight.own.barred.contains(folder);
        barred(path) || barred(b"/") || ends.any(|at| barred(path.get(..at).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const TEXT: &[u8] = b"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:40 / /mnt/far rw - fuse.sshfs x rw\n\
        22 20 0:41 / /mnt rw - tmpfs x rw\n";

    fn file(mount: Option<u64>, device: (u32, u32)) -> Attributes {
        let known = statx(File::open("/proc/self/exe").unwrap(), c"").unwrap();
        Attributes { device, mount, ..known }
    }

    #[test]
    fn files_are_judged_by_the_mount_they_are_reached_by() {
        let sight = Sight { own: Mounts::of(TEXT), memory: vec![(0, 1)] };
        let view = View { sight: &sight, theirs: Mounts::of(b"30 1 0:50 / / rw - overlay x rw\n") };
        for (mount, device, expected) in [
            (Some(20), (8, 1), Lies::Local),
            // A subvolume has a device of its own.
            (Some(20), (0, 99), Lies::Local),
            (Some(30), (0, 50), Lies::Local),
            (Some(21), (0, 40), Lies::Remote),
            (Some(77), (0, 40), Lies::Unseen),
            (None, (8, 1), Lies::Unseen),
            (Some(77), (0, 1), Lies::Memory),
        ] {
            assert_eq!(view.lies(&file(mount, device)), expected, "{mount:?} {device:?}");
        }
        for (path, barred) in [
            ("/mnt/far", true),
            ("/mnt/far/a/b", true),
            ("/mnt/farther", false),
            ("/mnt/a", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(view.is_barred(path.as_bytes()), barred, "{path}");
        }
    }

    #[test]
    fn a_memfd_is_memory_and_an_ordinary_file_is_local() {
        let sight = Sight::new(Path::new("/proc"));
        let view = View { sight: &sight, theirs: Mounts::default() };
        let memory = memfd_create("x", MFdFlags::MFD_CLOEXEC).unwrap();
        assert_eq!(view.regular(&memory).map(|found| view.lies(&found)), Ok(Lies::Memory));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let file = OwnedFd::from(File::create(path).unwrap());
        assert_eq!(view.regular(&file).map(|found| view.lies(&found)), Ok(Lies::Local));
        let pipe = nix::unistd::pipe().unwrap();
        assert!(view.regular(&pipe.0).is_err());
    }
}
