//! One process's directory in /proc, pinned: everything is read below one open descriptor, which answers ESRCH after
//! the process has gone and never shows another one that got its pid.

use std::borrow::Cow;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
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
const STAT_TEXT: u64 = 4096;

/// Threads that are looked at for one that lives, where the leader does not.
const THREADS_MAX: usize = 16_384;

/// How often a name is asked for again while the process changes its leader.
const RETRIES: usize = 3;

/// What a process loses when its leader ends, and its other threads keep: it is read through one of them.
const OF_A_THREAD: &[&str] = &[
    "auxv",
    "cmdline",
    "cwd",
    "environ",
    "exe",
    "fd",
    "fdinfo",
    "io",
    "maps",
    "mem",
    "mountinfo",
    "net",
    "ns",
    "pagemap",
    "root",
    "smaps",
    "stack",
    "syscall",
    "wchan",
];

/// A living process, as long as it lives.
#[derive(Debug)]
pub(super) struct ProcDir {
    fd: OwnedFd,
    id: ProcessId,
    /// As it was when it was opened.
    pub(super) stat: Stat,
    /// The living thread through which it is read when the leader has ended; 0 while that lives.
    through: AtomicU32,
}

impl ProcDir {
    /// The directory of `id` below `proc`, if the pid still means that process.
    #[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
    pub(super) fn open(proc: &Path, id: ProcessId) -> Result<Self, Miss> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(&proc.join(id.pid.to_string()), flags, Mode::empty())
            .map_err(|errno| Miss::at("open its directory in /proc", &errno.into()))?;
        let stat = stat_below(fd.as_fd(), &id)?;
        let dir = Self { fd, id, stat, through: AtomicU32::new(0) };
        dir.choose_thread(&dir.stat);
        Ok(dir)
    }

    /// The reader's own.
    #[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
    pub(super) fn own(proc: &Path) -> Result<Self, Miss> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(&proc.join("self"), flags, Mode::empty())
            .map_err(|errno| Miss::at("open our own directory in /proc", &errno.into()))?;
        let stat = read_stat(fd.as_fd())?;
        let id = ProcessId { boot: BootId::default(), pid: stat.pid, start: stat.start };
        Ok(Self { fd, id, stat, through: AtomicU32::new(0) })
    }

    /// Another descriptor of the same directory.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        let through = AtomicU32::new(self.through.load(Ordering::Relaxed));
        Ok(Self { fd: self.fd.try_clone()?, id: self.id, stat: self.stat.clone(), through })
    }

    pub(super) fn id(&self) -> ProcessId {
        self.id
    }

    /// Whether it runs the agent's own executable.
    #[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
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
        statx_behind(&self.fd, &CString::new(&*self.below(name))?)
    }

    /// Whether it is still that process. After an exit the answer is `gone`. A leader that has ended meanwhile is no
    /// exit: from now on the process is read through another thread.
    pub(super) fn check(&self) -> Result<(), Miss> {
        let stat = stat_below(self.fd.as_fd(), &self.id)?;
        self.choose_thread(&stat);
        Ok(())
    }

    /// What a miss means for a file that every living process has: without it the kernel is old, or the process has ended
    /// and waits for its parent.
    pub(super) fn missed(&self, miss: Miss) -> Miss {
        let ended = |stat: &Stat| has_ended(stat.state) && self.through().is_none();
        match stat_below(self.fd.as_fd(), &self.id) {
            Ok(stat) if ended(&stat) => Miss::new(Outcome::Gone, miss.detail),
            _ => miss.of_the_living(),
        }
    }

    /// The thread through which it is read, if its leader has ended.
    pub(super) fn through(&self) -> Option<u32> {
        Some(self.through.load(Ordering::Relaxed)).filter(|tid| *tid != 0)
    }

    /// Whether it still lives. That it is the same needs no look: the descriptor stands for this one and no other.
    pub(super) fn is_there(&self) -> Result<(), Miss> {
        statx(&self.fd, c"stat").map(drop).map_err(|error| Miss::at("look whether it lives", &error))
    }

    /// A file below the directory, never followed where it is a link.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
        Ok(self.ask(name, |name| openat(&self.fd, name, flags, Mode::empty()))?.into())
    }

    /// What a magic link (`exe`, `fd/3`) leads to, as a path descriptor: nothing is opened yet.
    pub(super) fn path(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok(self.ask(name, |name| openat(&self.fd, name, flags, Mode::empty()))?)
    }

    /// A namespace (`ns/net`), opened to be entered: these links lead nowhere else.
    pub(super) fn namespace(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        Ok(self.ask(&format!("ns/{name}"), |name| openat(&self.fd, name, flags, Mode::empty()))?)
    }

    /// A text, at most `max` bytes of it.
    pub(super) fn text(&self, name: &str, max: u64) -> Result<(Vec<u8>, Option<Miss>), Miss> {
        let file = self.file(name).map_err(|error| Miss::at("open", &error))?;
        let (bytes, whole) = read_bounded(file, max).map_err(|error| Miss::at("read", &error))?;
        Ok((bytes, (!whole).then(|| Miss::partial(format!("cut at {max} bytes")))))
    }

    /// Where a link says it leads.
    pub(super) fn link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.ask(name, |name| readlinkat(&self.fd, name))?.into_vec())
    }

    /// The numbers that name the entries of a directory (`fd`, `task`), at most `most`, and whether these are all.
    pub(super) fn numbers(&self, name: &str, most: usize) -> io::Result<(Vec<u32>, bool)> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut dir = self.ask(name, |name| Dir::openat(&self.fd, name, flags, Mode::empty()))?;
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

    /// The `stat` of one of its threads.
    pub(super) fn thread(&self, tid: u32) -> Result<Stat, Miss> {
        let (text, _) = self.text(&format!("task/{tid}/stat"), STAT_TEXT)?;
        Stat::parse(&text).map_err(|error| Miss::refused(error.to_string()))
    }

    /// A zombie has no memory and no descriptors, but its threads may go on with them; one that executes something becomes
    /// the new leader.
    fn choose_thread(&self, leader: &Stat) {
        if !has_ended(leader.state) || leader.threads < 2 {
            self.through.store(0, Ordering::Relaxed);
            return;
        }
        if self.through().is_some_and(|tid| self.lives(tid)) {
            return;
        }
        let (tids, _) = self.numbers("task", THREADS_MAX).unwrap_or_default();
        let living = tids.into_iter().find(|tid| self.lives(*tid));
        self.through.store(living.unwrap_or(0), Ordering::Relaxed);
    }

    fn lives(&self, tid: u32) -> bool {
        self.thread(tid).is_ok_and(|stat| !has_ended(stat.state))
    }

    /// Asks for a name below the directory; again, if the thread that it was read through has ended, or executes something
    /// and so becomes the leader.
    fn ask<T>(&self, name: &str, ask: impl Fn(&str) -> nix::Result<T>) -> nix::Result<T> {
        let mut path = self.below(name);
        for _ in 0..RETRIES {
            match ask(&path) {
                Err(Errno::ENOENT | Errno::ESRCH) if self.check().is_ok() => {
                    let again = self.below(name);
                    if again == path && !OF_A_THREAD.contains(&name) {
                        return ask(&path);
                    }
                    path = again;
                }
                outcome => return outcome,
            }
        }
        ask(&path)
    }

    fn below<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let first = name.split('/').next().unwrap_or_default();
        match self.through() {
            Some(tid) if OF_A_THREAD.contains(&first) => format!("task/{tid}/{name}").into(),
            _ => name.into(),
        }
    }
}

/// Whether the letter is that of a thread that will not run again.
pub(super) fn has_ended(state: u8) -> bool {
    matches!(state, b'Z' | b'X' | b'x')
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
