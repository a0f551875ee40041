//! Which directories are watched now: marks on their inodes, and who they are.

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use crate::event::touch::Place;
use crate::places::list::{LIST, Names};
use crate::places::record::Handle;
use crate::proc;
use crate::system::handle::handle;
use crate::system::process::{Attributes, statx};
use crate::text::Bytes;

/// Directories that are watched.
const DIRECTORIES_MAX: usize = 1000;
/// Marks that one group makes in its life; those of directories that were renamed away stay until it is replaced.
const MARKS_MAX: usize = 2000;
/// Entries of one directory that are looked at.
const ENTRIES_MAX: usize = 1024;
/// A list of mounts.
const MOUNTINFO_MAX: u64 = 4 << 20;
/// Bytes that are read at once, and how often in one turn.
const BUFFER: usize = 64 << 10;
const READS: usize = 4;

/// A watched directory.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// Its path on the host.
    pub(super) path: Bytes,
    pub(super) place: Place,
    pub(super) names: Names,
}

impl Directory {
    /// The path of `name` in it; `.` is the directory itself.
    pub(super) fn join(&self, name: &[u8]) -> Bytes {
        if name == b"." {
            return self.path.clone();
        }
        Bytes([self.path.as_slice(), b"/", name].concat())
    }
}

/// The group and its directories.
pub(super) struct Marks {
    fanotify: Fanotify,
    root: PathBuf,
    directories: HashMap<Handle, Directory>,
    made: usize,
    /// What cannot be watched, at the last look: how many, and one of them in words.
    refused: (usize, Option<String>),
}

impl Marks {
    /// A group without marks. It never holds anybody: the kernel tells, and does not ask.
    pub(super) fn new(root: &Path) -> Result<Self, String> {
        let root =
            root.canonicalize().map_err(|failure| format!("the root {}: {failure}", root.display()))?;
        let fanotify = group().map_err(|errno| format!("no fanotify group with names: {errno}"))?;
        Ok(Self { fanotify, root, directories: HashMap::new(), made: 0, refused: (0, None) })
    }

    /// Looks for the directories again; those that were not watched before, which are watched now.
    pub(super) fn look(&mut self) -> Vec<(Handle, Directory)> {
        let remote = match remote() {
            Ok(remote) => remote,
            Err(failure) => {
                tracing::warn!("places are not looked for: {failure}");
                return Vec::new();
            }
        };
        if self.made >= MARKS_MAX {
            match group() {
                Ok(group) => (self.fanotify, self.made) = (group, 0),
                Err(errno) => tracing::warn!("no other fanotify group for the places: {errno}"),
            }
        }
        // A mark that is there already may be added again.
        let again = self.made == 0;
        let before = std::mem::take(&mut self.directories);
        self.refused = (0, None);
        let mut new = Vec::new();
        for watched in LIST {
            for path in self.expand(watched.pattern, &remote) {
                if self.directories.len() >= DIRECTORIES_MAX {
                    self.refuse(&path, "there are too many");
                    continue;
                }
                let bytes = path.strip_prefix(&self.root).unwrap_or(&path).as_os_str().as_bytes();
                let path_on_host = Bytes([b"/", bytes].concat());
                let directory = Directory { path: path_on_host, place: watched.place, names: watched.names };
                match self.mark(&path, &before, again) {
                    Ok(None) => {}
                    Ok(Some(handle)) => {
                        if !before.contains_key(&handle) {
                            new.push((handle.clone(), directory.clone()));
                        }
                        self.directories.insert(handle, directory);
                    }
                    Err(reason) => self.refuse(&path, reason),
                }
            }
        }
        new
    }

    /// Marks one, where it is there and not watched by another name.
    fn mark(
        &mut self,
        path: &Path,
        before: &HashMap<Handle, Directory>,
        again: bool,
    ) -> Result<Option<Handle>, String> {
        let directory = match open(path) {
            Ok(directory) => directory,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(Errno::ELOOP) => return Err("a symbolic link leads there".to_owned()),
            Err(failure) => return Err(failure.to_string()),
        };
        let handle = handle(directory.as_fd()).map_err(|failure| failure.to_string())?;
        if self.directories.contains_key(&handle) {
            return Ok(None);
        }
        if again || !before.contains_key(&handle) {
            let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
            let marked = self.fanotify.mark(flags, told(), &directory, Some("."));
            marked.map_err(|errno| errno.to_string())?;
            self.made = self.made.saturating_add(1);
        }
        Ok(Some(handle))
    }

    fn refuse(&mut self, path: &Path, reason: impl std::fmt::Display) {
        self.refused.0 = self.refused.0.saturating_add(1);
        self.refused
            .1
            .get_or_insert_with(|| format!("{}: {reason}", Bytes::from(path.as_os_str().as_bytes())));
    }

    /// The paths a pattern stands for. A network's or a user's file system is left alone: it may never answer.
    fn expand(&self, pattern: &str, remote: &HashSet<PathBuf>) -> Vec<PathBuf> {
        let mut paths = vec![self.root.clone()];
        for part in pattern.split('/') {
            paths = match part {
                "*" => paths.iter().flat_map(|path| directories(path)).take(DIRECTORIES_MAX).collect(),
                part => paths.iter().map(|path| path.join(part)).collect(),
            };
            paths.retain(|path| !remote.contains(path));
        }
        paths
    }

    /// What the kernel has to tell now, with the bytes as they are.
    pub(super) fn read(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = vec![0; BUFFER];
        for _ in 0..READS {
            match nix::unistd::read(self.fanotify.as_fd(), &mut buffer) {
                Ok(length) if length > 0 => all.extend(buffer.get(..length).map(<[u8]>::to_vec)),
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(failure) => {
                    tracing::warn!("what was done to files cannot be read: {failure}");
                    break;
                }
            }
        }
        all
    }

    /// Who this is.
    pub(super) fn directory(&self, handle: &Handle) -> Option<&Directory> {
        self.directories.get(handle)
    }

    /// The directory itself, where it is still at its path.
    pub(super) fn open(&self, wanted: &Handle) -> Option<OwnedFd> {
        let path = self.directories.get(wanted)?.path.as_slice();
        let path = self.root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
        let directory = open(&path).ok()?;
        handle(directory.as_fd()).ok().filter(|found| found == wanted)?;
        Some(directory)
    }

    /// How many are watched, and what cannot be.
    pub(super) fn count(&self) -> (usize, usize, Option<&str>) {
        (self.directories.len(), self.refused.0, self.refused.1.as_deref())
    }
}

impl AsFd for Marks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }
}

/// Linux 5.9 has `FAN_REPORT_DFID_NAME`.
fn group() -> Result<Fanotify, Errno> {
    let names = InitFlags::from_bits_retain(libc::FAN_REPORT_DFID_NAME);
    let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | names;
    Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)
}

/// What is told of a directory's entries.
fn told() -> MaskFlags {
    MaskFlags::FAN_CREATE
        | MaskFlags::FAN_MOVED_TO
        | MaskFlags::FAN_MOVED_FROM
        | MaskFlags::FAN_DELETE
        | MaskFlags::FAN_CLOSE_WRITE
        | MaskFlags::FAN_MODIFY
        | MaskFlags::FAN_ATTRIB
        | MaskFlags::FAN_EVENT_ON_CHILD
        | MaskFlags::FAN_ONDIR
}

/// Mount points of file systems that may never answer; an error where there are too many to know them all.
fn remote() -> io::Result<HashSet<PathBuf>> {
    let mut text = Vec::new();
    File::open("/proc/self/mountinfo")?.take(MOUNTINFO_MAX).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length >= MOUNTINFO_MAX) {
        return Err(io::Error::other("the list of mounts is too long"));
    }
    let mounts = proc::mounts(&text).into_iter().filter(proc::Mount::is_remote);
    Ok(mounts.map(|mount| PathBuf::from(OsStr::from_bytes(mount.point.as_slice()))).collect())
}

/// A directory without following any link: whoever owns a home could send us anywhere.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let how = OpenHow::new().flags(flags);
    let how = how.resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how)
}

/// Names in a directory, not more than are looked at.
pub(super) fn names(directory: BorrowedFd<'_>) -> Vec<Vec<u8>> {
    let link = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    let Ok(entries) = std::fs::read_dir(link) else { return Vec::new() };
    entries.flatten().take(ENTRIES_MAX).map(|entry| entry.file_name().into_vec()).collect()
}

/// Bytes of a file, where it is one.
pub(super) fn size(directory: BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
    let name = CString::new(name).ok()?;
    statx(directory, &name).ok().filter(Attributes::is_file).map(|attributes| attributes.size)
}

/// The directories in a directory; links are none.
fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(parent) = open(path) else { return Vec::new() };
    let link = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string());
    let Ok(entries) = std::fs::read_dir(link) else { return Vec::new() };
    let entries = entries.flatten().take(ENTRIES_MAX);
    let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    entries.map(|entry| path.join(entry.file_name())).collect()
}
