//! One process's directory in /proc, pinned: everything is read below one open descriptor, which answers ESRCH after
//! the process has gone and never shows another one that got its pid.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::unistd::read;

use super::attempts::{Miss, read_bounded};
use super::system::{Attributes, statx, statx_behind};
use crate::bundle::Outcome;
use crate::event::{BootId, ProcessId};
use crate::proc::Stat;

/// `stat` is one line; the name in it has at most 64 bytes.
const STAT_MAX: usize = 4096;

/// A living process, as long as it lives.
#[derive(Debug)]
pub(super) struct ProcDir {
    fd: OwnedFd,
    id: ProcessId,
    /// As it was when it was opened.
    pub(super) stat: Stat,
}

impl ProcDir {
    /// The directory of `id` below `proc`, if the pid still means that process.
    pub(super) fn open(proc: &Path, id: ProcessId) -> Result<Self, Miss> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(&proc.join(id.pid.to_string()), flags, Mode::empty())
            .map_err(|errno| Miss::at("open its directory in /proc", &errno.into()))?;
        let stat = stat_below(fd.as_fd(), &id)?;
        Ok(Self { fd, id, stat })
    }

    /// The reader's own.
    pub(super) fn own(proc: &Path) -> Result<Self, Miss> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(&proc.join("self"), flags, Mode::empty())
            .map_err(|errno| Miss::at("open our own directory in /proc", &errno.into()))?;
        let stat = read_stat(fd.as_fd())?;
        let id = ProcessId { boot: BootId::default(), pid: stat.pid, start: stat.start };
        Ok(Self { fd, id, stat })
    }

    /// Another descriptor of the same directory.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, id: self.id, stat: self.stat.clone() })
    }

    pub(super) fn id(&self) -> ProcessId {
        self.id
    }

    /// Whether it runs the agent's own executable.
    pub(super) fn is_agent(&self) -> bool {
        static OWN: OnceLock<Option<((u32, u32), u64)>> = OnceLock::new();
        let file = |found: io::Result<Attributes>| found.ok().map(|found| (found.device, found.inode));
        let own = OWN.get_or_init(|| {
            let exe = open("/proc/self/exe", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
            file(exe.map_err(io::Error::from).and_then(|exe| statx(exe, c"")))
        });
        file(self.behind("exe")).is_some_and(|exe| Some(exe) == *own)
    }

    /// The attributes of what a magic link (`exe`, `fd/3`) leads to.
    pub(super) fn behind(&self, name: &str) -> io::Result<Attributes> {
        statx_behind(&self.fd, &CString::new(name)?)
    }

    /// Whether it is still that process. After an exit the answer is `gone`.
    pub(super) fn check(&self) -> Result<(), Miss> {
        stat_below(self.fd.as_fd(), &self.id).map(drop)
    }

    /// Whether it still lives. That it is the same needs no look: the descriptor stands for this one and no other.
    pub(super) fn is_there(&self) -> Result<(), Miss> {
        statx(&self.fd, c"stat").map(drop).map_err(|error| Miss::at("look whether it lives", &error))
    }

    /// A file below the directory, never followed where it is a link.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
        Ok(openat(&self.fd, name, flags, Mode::empty())?.into())
    }

    /// What a magic link (`exe`, `fd/3`) leads to, as a path descriptor: nothing is opened yet.
    pub(super) fn path(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(openat(&self.fd, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    /// A namespace (`ns/net`), opened to be entered: these links lead nowhere else.
    pub(super) fn namespace(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(openat(&self.fd, &*format!("ns/{name}"), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    /// A text, at most `max` bytes of it.
    pub(super) fn text(&self, name: &str, max: u64) -> Result<(Vec<u8>, Option<Miss>), Miss> {
        let file = self.file(name).map_err(|error| Miss::at("open", &error))?;
        let (bytes, whole) = read_bounded(file, max).map_err(|error| Miss::at("read", &error))?;
        Ok((bytes, (!whole).then(|| Miss::partial(format!("cut at {max} bytes")))))
    }

    /// Where a link says it leads.
    pub(super) fn link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.fd, name)?.into_vec())
    }

    /// The numbers that name the entries of a directory (`fd`, `task`), at most `most`, and whether these are all.
    pub(super) fn numbers(&self, name: &str, most: usize) -> io::Result<(Vec<u32>, bool)> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut dir = Dir::openat(&self.fd, name, flags, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if numbers.len() >= most {
                return Ok((numbers, false));
            }
            numbers.push(number);
        }
        numbers.sort_unstable();
        Ok((numbers, true))
    }
}

fn read_stat(fd: BorrowedFd<'_>) -> Result<Stat, Miss> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file =
        openat(fd, "stat", flags, Mode::empty()).map_err(|errno| Miss::at("open stat", &errno.into()))?;
    // The kernel gives one line at once, and whole when there is room.
    let mut text = [0; STAT_MAX];
    let count = read(&file, &mut text).map_err(|errno| Miss::at("read stat", &errno.into()))?;
    Stat::parse(text.get(..count).unwrap_or_default()).map_err(|error| Miss::refused(error.to_string()))
}

fn stat_below(fd: BorrowedFd<'_>, id: &ProcessId) -> Result<Stat, Miss> {
    let stat = read_stat(fd)?;
    if stat.start == id.start {
        Ok(stat)
    } else {
        let detail = format!("pid {} now belongs to a process that started at {}", id.pid, stat.start);
        Err(Miss::new(Outcome::IdentityChanged, detail))
    }
}
