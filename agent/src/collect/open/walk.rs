//! From one directory to what stands in it, though an attacker may have prepared them: never over a link, never into a
//! file system whose server may not answer or that is the kernel's own.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::dir::{Dir, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::Mode;

use super::down::Later;
use super::file::Remote;
use super::mounts::{Table, mountinfo};
use crate::bundle::Outcome;
use crate::collect::attempts::Miss;
use crate::collect::system::{Attributes, statx};
use crate::text::escape;

/// Entries of a directory that are listed at once; a walk goes through all of them.
const LISTED_MAX: usize = 100_000;

/// Bytes of a path that is gone along; the kernel takes 4,096 at once.
const PATH_MAX: usize = 16 << 10;

/// The host's files as we may look at them.
#[derive(Debug)]
pub(in crate::collect) struct Walker {
    root: PathBuf,
    /// The same, as `mountinfo` writes it.
    prefix: Vec<u8>,
    proc: PathBuf,
    mounts: Table,
    pub(in crate::collect) remote: Remote,
    /// Entries that may still be looked at.
    pub(in crate::collect) entries: usize,
    /// When to stop.
    pub(in crate::collect) until: Instant,
    /// What was left out, in words.
    pub(in crate::collect) lacks: Vec<String>,
    /// Directories that were entered (a bind mount can make a loop).
    pub(super) entered: HashSet<((u32, u32), u64)>,
    /// Whether a bound ended this walk.
    pub(super) stopped: bool,
    /// Directories whose rest is left for later.
    pub(super) later: Vec<Later>,
}

/// One entry of a directory.
#[derive(Debug)]
pub(in crate::collect) struct Entry {
    /// The host's path of it.
    pub(in crate::collect) path: Vec<u8>,
    /// What it is, opened as a path only.
    pub(in crate::collect) fd: OwnedFd,
    pub(in crate::collect) attributes: Attributes,
}

impl Entry {
    pub(in crate::collect) fn name(&self) -> &[u8] {
        self.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }
}

impl Walker {
    /// A walker below `root`; `proc` tells what is mounted where.
    pub(in crate::collect) fn new(root: &Path, proc: &Path, entries: usize, until: Instant) -> Self {
        let mountinfo = mountinfo(proc);
        Self {
            root: root.to_owned(),
            prefix: prefix(root),
            proc: proc.to_owned(),
            mounts: Table::of(&mountinfo),
            remote: Remote::of(&mountinfo),
            entries,
            until,
            lacks: Vec::new(),
            entered: HashSet::new(),
            stopped: false,
            later: Vec::new(),
        }
    }

    /// What stands at an absolute `path` of the host; no component may be a link.
    pub(in crate::collect) fn find(&self, path: &[u8]) -> Result<Entry, Miss> {
        let mut at = self.top()?;
        for component in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            at = self.child(&at, component)?;
        }
        if at.attributes.is_link() {
            let target = readlinkat(&at.fd, c"").unwrap_or_default();
            return Err(Miss::refused(format!("a symbolic link to {}", escape(target.as_bytes()))));
        }
        Ok(at)
    }

    /// The same; what stands there may itself be a link, which is then what is found.
    pub(in crate::collect) fn find_any(&self, path: &[u8]) -> Result<Entry, Miss> {
        let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        parts.fold(self.top(), |at, component| self.child(&at?, component))
    }

    /// Whether a bound of entries or time ended the walk.
    pub(in crate::collect) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The root itself, whose path is empty.
    pub(super) fn top(&self) -> Result<Entry, Miss> {
        let fd = top(&self.root).map_err(|errno| Miss::at("open the root", &errno.into()))?;
        let attributes = statx(&fd, c"").map_err(|error| Miss::at("stat", &error))?;
        Ok(Entry { path: Vec::new(), fd, attributes })
    }

    /// What stands below `folder` under this name; a link is not followed.
    pub(in crate::collect) fn child(&self, folder: &Entry, name: &[u8]) -> Result<Entry, Miss> {
        self.step(&folder.fd, &folder.path, name)
    }

    pub(super) fn step(&self, folder: &OwnedFd, at: &[u8], name: &[u8]) -> Result<Entry, Miss> {
        if name == b".." || name.contains(&b'/') {
            return Err(Miss::refused("a path with `..` in it"));
        }
        let path = [at, b"/", name].concat();
        if path.len() > PATH_MAX {
            return Err(Miss::refused(format!("a path of more than {PATH_MAX} bytes")));
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
        match openat2(folder, name, how) {
            Ok(fd) => {
                let attributes = statx(&fd, c"").map_err(|error| Miss::at("stat", &error))?;
                Ok(Entry { path, fd, attributes })
            }
            // Something is mounted there; or the kernel's filter for this process does not know the call.
            Err(Errno::EXDEV | Errno::ENOSYS) => self.cross(folder, path, name),
            Err(errno) => Err(Miss::at("look up", &errno.into())),
        }
    }

    /// Over a mount point, if what is mounted there is known to answer by itself.
    fn cross(&self, folder: &OwnedFd, path: Vec<u8>, name: &[u8]) -> Result<Entry, Miss> {
        let point = [self.prefix.as_slice(), &path].concat();
        // It may have been mounted a moment ago.
        let now = (!self.mounts.has(&point)).then(|| Table::of(&mountinfo(&self.proc)));
        let mounts = now.as_ref().unwrap_or(&self.mounts);
        mounts.may_cross(&point)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            openat(folder, name, flags, Mode::empty()).map_err(|errno| Miss::at("look up", &errno.into()))?;
        let attributes = statx(&fd, c"").map_err(|error| Miss::at("stat", &error))?;
        mounts.may_be_on(&attributes).map(|()| Entry { path, fd, attributes })
    }

    /// Counts one more entry of `folder`; true where the bound of entries or time is reached, which is then said.
    pub(in crate::collect) fn is_over(&mut self, folder: &[u8]) -> bool {
        if self.entries == 0 || Instant::now() >= self.until {
            self.stop(folder);
            return true;
        }
        self.entries = self.entries.saturating_sub(1);
        false
    }

    /// Forgets which directories were entered, for another walk.
    pub(in crate::collect) fn again(&mut self) {
        self.entered.clear();
        self.stopped = false;
    }

    /// The entries of a directory that ought to be small.
    pub(in crate::collect) fn names(&mut self, folder: &OwnedFd) -> io::Result<Vec<(CString, Option<Type>)>> {
        let mut names: Vec<_> = List::of(folder)?.take(LISTED_MAX + 1).collect::<io::Result<_>>()?;
        if names.len() > LISTED_MAX {
            names.truncate(LISTED_MAX);
            self.lacks.push(format!("more than {LISTED_MAX} entries in one directory"));
        }
        Ok(names)
    }

    /// Says where a bound ended the walk: once, and not again for each folder above.
    pub(in crate::collect) fn stop(&mut self, path: &[u8]) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.lack(path, "stopped here: the bound of entries or time was reached");
        }
    }

    pub(in crate::collect) fn lack(&mut self, path: &[u8], why: &str) {
        if self.lacks.len() < 64 {
            self.lacks.push(format!("{}: {why}", escape(path)));
        }
    }

    /// What was left out, as an outcome.
    pub(in crate::collect) fn miss(&self) -> Option<Miss> {
        (!self.lacks.is_empty()).then(|| Miss::new(Outcome::Partial, self.lacks.join("; ")))
    }
}

/// The root of the host's files, or of a process, as a path only.
#[expect(clippy::disallowed_methods, reason = "the host's root is the administrator's choice")]
pub(in crate::collect) fn top(root: &Path) -> nix::Result<OwnedFd> {
    open(root, OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY, Mode::empty())
}

/// What stands before a path below `root` where `mountinfo` names it.
fn prefix(root: &Path) -> Vec<u8> {
    let real = top(root).and_then(|fd| {
        let own = format!("/proc/self/fd/{}", fd.as_raw_fd());
        nix::fcntl::readlink(own.as_str())
    });
    let mut prefix =
        real.map_or_else(|_| root.as_os_str().as_bytes().to_vec(), |path| path.as_bytes().to_vec());
    while prefix.last() == Some(&b'/') {
        prefix.pop();
    }
    prefix
}

/// The entries of a directory, by name and type, as the kernel gives them: there may be millions.
#[derive(Debug)]
pub(in crate::collect) struct List(OwningIter);

impl List {
    pub(in crate::collect) fn of(folder: &OwnedFd) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let dir = match Dir::openat(folder, c".", flags | OFlag::O_NOATIME, Mode::empty()) {
            Err(Errno::EPERM) => Dir::openat(folder, c".", flags, Mode::empty())?,
            result => result?,
        };
        Ok(Self(dir.into_iter()))
    }
}

impl Iterator for List {
    type Item = io::Result<(CString, Option<Type>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next()? {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => return Some(Ok((entry.file_name().to_owned(), entry.file_type()))),
                Err(errno) => return Some(Err(errno.into())),
            }
        }
    }
}

#[cfg(test)]
#[path = "walk_test.rs"]
mod tests;
