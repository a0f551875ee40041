//! Through directories that an attacker may have prepared: never over a link, never into a file system whose server
//! may not answer or that is the kernel's own, never deeper or longer than said.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;

use super::attempts::{Miss, read_bounded};
use super::exe::MOUNTINFO_MAX;
use super::file::Remote;
use super::system::{Attributes, statx};
use crate::bundle::Outcome;
use crate::proc::mounts;
use crate::text::escape;

/// Entries read of one directory.
const ENTRIES_MAX: usize = 100_000;

/// The host's files as we may look at them.
#[derive(Debug)]
pub(super) struct Walker {
    root: PathBuf,
    /// Mount points that are not entered, in our own view.
    barred: HashSet<Vec<u8>>,
    pub(super) remote: Remote,
    /// Entries that may still be looked at.
    pub(super) entries: usize,
    /// When to stop.
    pub(super) until: Instant,
    /// What was left out, in words.
    pub(super) lacks: Vec<String>,
    /// Directories that were entered (a bind mount can make a loop).
    entered: HashSet<((u32, u32), u64)>,
    /// Whether a bound ended this walk.
    stopped: bool,
}

/// One entry of a directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// The host's path of it.
    pub(super) path: Vec<u8>,
    /// What it is, opened as a path only.
    pub(super) fd: OwnedFd,
    pub(super) attributes: Attributes,
}

impl Entry {
    pub(super) fn name(&self) -> &[u8] {
        self.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }
}

impl Walker {
    /// A walker below `root`; `proc` tells what is mounted where.
    pub(super) fn new(root: &Path, proc: &Path, entries: usize, until: Instant) -> Self {
        let mountinfo = std::fs::File::open(proc.join("self/mountinfo"))
            .and_then(|file| read_bounded(file, MOUNTINFO_MAX))
            .map(|(text, _)| text)
            .unwrap_or_default();
        let mounts = mounts(&mountinfo);
        let barred = mounts.iter().filter(|mount| mount.is_remote() || mount.is_pseudo());
        Self {
            root: root.to_owned(),
            barred: barred.map(|mount| mount.point.0.clone()).collect(),
            remote: Remote::of(&mountinfo),
            entries,
            until,
            lacks: Vec::new(),
            entered: HashSet::new(),
            stopped: false,
        }
    }

    /// The host's root, in our own view.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What stands at an absolute `path` of the host; no component may be a link.
    pub(super) fn find(&self, path: &[u8]) -> Result<Entry, Miss> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let mut fd = open(&self.root, flags | OFlag::O_DIRECTORY, Mode::empty())
            .map_err(|errno| Miss::at("open the root", &errno.into()))?;
        let mut at = Vec::new();
        for component in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if component == b".." {
                return Err(Miss::refused("a path with `..` in it"));
            }
            at.push(b'/');
            at.extend_from_slice(component);
            if self.is_barred(&at) {
                return Err(Miss::refused("on a network, user-space or kernel file system"));
            }
            let next = openat(&fd, component, flags | OFlag::O_NOFOLLOW, Mode::empty());
            fd = next.map_err(|errno| Miss::at("look up", &errno.into()))?;
        }
        let attributes = statx(&fd, c"").map_err(|error| Miss::at("stat", &error))?;
        if attributes.is_link() {
            let target = readlinkat(&fd, c"").unwrap_or_default();
            return Err(Miss::refused(format!("a symbolic link to {}", escape(target.as_bytes()))));
        }
        Ok(Entry { path: at, fd, attributes })
    }

    /// Visits all that is below the directory `from`, at most `depth` levels deep. `visit` says whether to go on into
    /// a directory.
    pub(super) fn walk(&mut self, from: &Entry, depth: usize, visit: &mut dyn FnMut(&Entry) -> bool) {
        self.walk_where(from, depth, &|_, _| true, visit);
    }

    /// The same; of an entry that `look` does not care for, by name and type, nothing but these are seen.
    pub(super) fn walk_where(
        &mut self,
        from: &Entry,
        depth: usize,
        look: &dyn Fn(&[u8], Option<Type>) -> bool,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) {
        let key = (from.attributes.device, from.attributes.inode);
        if !self.entered.insert(key) {
            return;
        }
        let names = match self.names(&from.fd) {
            Ok(names) => names,
            Err(error) => return self.lack(&from.path, &error.to_string()),
        };
        for (name, kind) in names {
            if self.entries == 0 || Instant::now() >= self.until {
                return self.stop(&from.path);
            }
            self.entries = self.entries.saturating_sub(1);
            if !look(name.to_bytes(), kind) {
                continue;
            }
            let Ok(entry) = self.child(from, name.to_bytes()) else { continue };
            if visit(&entry) && entry.attributes.is_dir() {
                match depth {
                    0 => self.lack(&entry.path, "too deep"),
                    _ => self.walk_where(&entry, depth - 1, look, visit),
                }
            }
        }
    }

    /// Forgets which directories were entered, for another walk.
    pub(super) fn again(&mut self) {
        self.entered.clear();
        self.stopped = false;
    }

    /// What stands below `folder` under this name; a link is not followed.
    pub(super) fn child(&self, folder: &Entry, name: &[u8]) -> Result<Entry, Miss> {
        let path = [&folder.path, &b"/"[..], name].concat();
        if self.is_barred(&path) {
            return Err(Miss::refused("on a network, user-space or kernel file system"));
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&folder.fd, name, flags, Mode::empty())
            .map_err(|errno| Miss::at("look up", &errno.into()))?;
        let attributes = statx(&fd, c"").map_err(|error| Miss::at("stat", &error))?;
        Ok(Entry { path, fd, attributes })
    }

    pub(super) fn names(&mut self, path: &OwnedFd) -> io::Result<Vec<(CString, Option<Type>)>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mut dir = match Dir::openat(path, c".", flags | OFlag::O_NOATIME, Mode::empty()) {
            Err(Errno::EPERM) => Dir::openat(path, c".", flags, Mode::empty())?,
            result => result?,
        };
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if names.len() >= ENTRIES_MAX {
                self.lacks.push(format!("more than {ENTRIES_MAX} entries in one directory"));
                break;
            }
            names.push((name.to_owned(), entry.file_type()));
        }
        Ok(names)
    }

    fn is_barred(&self, path: &[u8]) -> bool {
        let mut ours = self.root.as_os_str().as_bytes().to_vec();
        while ours.last() == Some(&b'/') {
            ours.pop();
        }
        ours.extend_from_slice(path);
        self.barred.contains(&ours)
    }

    /// Says where a bound ended the walk: once, and not again for each folder above.
    pub(super) fn stop(&mut self, path: &[u8]) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.lack(path, "stopped here: the bound of entries or time was reached");
        }
    }

    pub(super) fn lack(&mut self, path: &[u8], why: &str) {
        if self.lacks.len() < 64 {
            self.lacks.push(format!("{}: {why}", escape(path)));
        }
    }

    /// What was left out, as an outcome.
    pub(super) fn miss(&self) -> Option<Miss> {
        (!self.lacks.is_empty()).then(|| Miss::new(Outcome::Partial, self.lacks.join("; ")))
    }
}

#[cfg(test)]
#[path = "walk_test.rs"]
mod tests;
