//! Marks on mounts and file systems, and how they follow new ones.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::group::Group;
use super::message::{Marks, Settings};
use super::{Error, mounts};
use crate::proc::{self, Mount};
use crate::system::process::statx;

/// A list of mounts: some hundred lines, on a host full of containers some thousand.
const MOUNTINFO_MAX: u64 = 4 << 20;
/// Mounts that are looked at, at once.
const MOUNTS_MAX: usize = 4096;
/// File systems of other namespaces that are counted.
const DEVICES_MAX: usize = 65_536;
/// Refusals that are told by name.
const REFUSED_MAX: usize = 8;
/// `RESOLVE_CACHED` (openat2(2), Linux 5.12): no file system is asked. A mount point is always in the kernel's memory.
const RESOLVE_CACHED: u64 = 0x20;
/// The initial user namespace has this inode number on every Linux (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// And this the initial PID namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The mounts of our namespace, and what is marked.
pub(super) struct Marker {
    mountinfo: File,
    proc: PathBuf,
    file_systems: bool,
    marks: Marks,
    /// The devices of what is marked in our own namespace, and in others.
    own: HashSet<(u32, u32)>,
    others: HashSet<(u32, u32)>,
}

impl Marker {
    /// Whole file systems are marked only in the initial PID namespace: elsewhere they belong to others too.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let step = "open the list of mounts";
        let mountinfo = File::open("/proc/self/mountinfo").map_err(|source| Error::Io { step, source })?;
        let file_systems = settings.file_systems && is_namespace("/proc/self/ns/pid", INITIAL_PID_NAMESPACE);
        let marks = Marks { file_systems, ..Marks::default() };
        let proc = settings.proc.clone();
        Ok(Self { mountinfo, proc, file_systems, marks, own: HashSet::new(), others: HashSet::new() })
    }

    /// Marks what is mounted in our own namespace now. Marks that are there already stay as they are.
    pub(super) fn look(&mut self, group: &Group) -> &Marks {
        let mut text = Vec::new();
        let read = self.mountinfo.rewind();
        let read = read.and_then(|()| (&self.mountinfo).take(MOUNTINFO_MAX).read_to_end(&mut text));
        self.marks = Marks { file_systems: self.file_systems, ..Marks::default() };
        self.own.clear();
        let marked = match read {
            Ok(_) => self.mark(group, AT_FDCWD, &proc::mounts(&text)),
            Err(failure) => {
                self.refuse(format!("the list of mounts: {failure}"));
                Vec::new()
            }
        };
        self.marks.marked = marked.len();
        if self.file_systems {
            self.own.extend(marked);
            self.count();
        }
        &self.marks
    }

    /// Marks the file systems that a process of another mount namespace sees, unless users made that namespace: what
    /// they mount may wait for them. `None` when the process is not there, or not in it.
    pub(super) fn look_at(&mut self, group: &Group, mounts: u32, pid: u32) -> Option<&Marks> {
        if !self.file_systems {
            return None;
        }
        let folder = self.proc.join(pid.to_string());
        let root = open(&folder.join("root"), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let mut text = Vec::new();
        let file = File::open(folder.join("mountinfo")).ok()?;
        file.take(MOUNTINFO_MAX).read_to_end(&mut text).ok()?;
        let is_it = is_namespace(folder.join("ns/mnt"), u64::from(mounts))
            && is_namespace(folder.join("ns/user"), INITIAL_USER_NAMESPACE);
        if !is_it || self.others.len() > DEVICES_MAX {
            return None;
        }
        let marked = self.mark(group, root.as_fd(), &proc::mounts(&text));
        self.others.extend(marked);
        self.count();
        Some(&self.marks)
    }

    fn count(&mut self) {
        self.marks.marked = self.own.union(&self.others).count();
    }

    /// Marks what is wanted of these mounts; the devices of what is marked now, one for each mark.
    fn mark(&mut self, group: &Group, root: BorrowedFd<'_>, all: &[Mount]) -> Vec<(u32, u32)> {
        let mut wanted = mounts::watchable(all);
        if self.file_systems {
            wanted = mounts::one_of_each_file_system(&wanted);
        }
        if wanted.len() > MOUNTS_MAX {
            self.refuse(format!("{} mounts beyond the first {MOUNTS_MAX}", wanted.len() - MOUNTS_MAX));
        }
        let mut marked = Vec::new();
        for mount in wanted.into_iter().take(MOUNTS_MAX) {
            match self.mark_one(group, root, mount) {
                Ok(true) => marked.push(mount.device),
                // Another mount lies on it: nobody reaches it by name.
                Ok(false) => {}
                Err(failure) => self.refuse(format!("{} ({}): {failure}", mount.point, mount.kind)),
            }
        }
        marked
    }

    fn mark_one(&self, group: &Group, root: BorrowedFd<'_>, mount: &Mount) -> Result<bool, Errno> {
        let place = open_point(root, mount)?;
        let known =
            statx(&place, c"").map_err(|failure| Errno::from_raw(failure.raw_os_error().unwrap_or(0)))?;
        if known.mount.is_some_and(|id| id != u64::from(mount.id)) {
            return Ok(false);
        }
        let link = Path::new("/proc/self/fd").join(place.as_raw_fd().to_string());
        group.mark_place(&link, self.file_systems)?;
        Ok(true)
    }

    fn refuse(&mut self, words: String) {
        if self.marks.refused.len() < REFUSED_MAX {
            self.marks.refused.push(words);
        }
    }
}

impl AsFd for Marker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mountinfo.as_fd()
    }
}

/// The mount's point, below `root`, without asking any file system and without following a link.
fn open_point(root: BorrowedFd<'_>, mount: &Mount) -> Result<OwnedFd, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let point = Path::new(std::ffi::OsStr::from_bytes(mount.point.as_slice()));
    let relative = point.strip_prefix("/").unwrap_or(point);
    let point = match root.as_raw_fd() == AT_FDCWD.as_raw_fd() {
        true => point,
        false if relative.as_os_str().is_empty() => Path::new("."),
        false => relative,
    };
    let no_links = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW);
    let cached = ResolveFlag::from_bits_retain(RESOLVE_CACHED);
    match openat2(root, point, how.resolve(no_links | cached)) {
        // A kernel that does not know the flag. What lies on a remote file system was left out before.
        Err(Errno::EINVAL | Errno::EAGAIN) => openat2(root, point, how.resolve(no_links)),
        outcome => outcome,
    }
}

fn is_namespace(link: impl AsRef<Path>, inode: u64) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(link).is_ok_and(|metadata| metadata.ino() == inode)
}
