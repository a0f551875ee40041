//! Down through all that is below a directory, as deep as it goes: what is held at a time is bounded, and so are entries
//! and time.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use nix::dir::Type;

use super::mounts::KERNEL;
use super::walk::{Entry, List, Walker};
use crate::bundle::Outcome;

/// Directories that wait to be entered, and those above the one being read that are held open: one that is not is looked
/// for again.
const WAITING_MAX: usize = 100_000;
const OPEN_MAX: usize = 64;

/// Entries of one directory at first: who fills a directory must not keep us from all others.
const TURN: usize = 50_000;
/// Directories whose rest can be left for later.
const LATER_MAX: usize = 64;

/// As deep as there is anything.
pub(in crate::collect) const ANY_DEPTH: usize = usize::MAX;

/// A directory on the way down, and those in it that wait.
struct Level {
    fd: Option<OwnedFd>,
    /// Of its path.
    length: usize,
    waiting: Vec<CString>,
}

/// A directory whose first entries were visited.
#[derive(Debug)]
pub(in crate::collect) struct Later {
    folder: Entry,
    rest: List,
    depth: usize,
}

/// By name and type: whether an entry is looked at.
type Look<'a> = &'a dyn Fn(&[u8], Option<Type>) -> bool;

impl Walker {
    /// Visits all that is below the directory `from`, at most `depth` levels deep. `visit` says whether to go on into
    /// a directory.
    pub(in crate::collect) fn walk(
        &mut self,
        from: &Entry,
        depth: usize,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) {
        self.walk_where(from, depth, &|_, _| true, visit);
    }

    /// The same; of an entry that `look` does not care for, by name and type, nothing but these are seen.
    pub(in crate::collect) fn walk_where(
        &mut self,
        from: &Entry,
        depth: usize,
        look: Look<'_>,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) {
        let before = std::mem::take(&mut self.later);
        self.walk_at_first(from, depth, look, visit);
        for later in std::mem::replace(&mut self.later, before) {
            self.walk_later(later, look, visit);
        }
    }

    /// The same, but that of a directory with very many entries the rest is left for later, when others have had their turn.
    pub(in crate::collect) fn walk_at_first(
        &mut self,
        from: &Entry,
        depth: usize,
        look: Look<'_>,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) {
        let mut waiting = 0;
        if let Some(first) = self.read(from, depth, look, visit, &mut waiting) {
            self.descend(from, first, depth, look, visit, waiting);
        }
    }

    /// What was left for later.
    pub(in crate::collect) fn take_later(&mut self) -> Vec<Later> {
        std::mem::take(&mut self.later)
    }

    /// Goes on with it.
    pub(in crate::collect) fn walk_later(
        &mut self,
        later: Later,
        look: Look<'_>,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) {
        let Later { folder, mut rest, depth } = later;
        let mut waiting = 0;
        let found = self.visit_all(&folder, &mut rest, usize::MAX, look, visit, &mut waiting);
        if let Some((found, _)) = found {
            self.descend(&folder, found, depth, look, visit, waiting);
        }
    }

    /// Enters `first`, which stand in `from`, and all that is below.
    fn descend(
        &mut self,
        from: &Entry,
        first: Vec<CString>,
        depth: usize,
        look: Look<'_>,
        visit: &mut dyn FnMut(&Entry) -> bool,
        mut waiting: usize,
    ) {
        let mut path = from.path.clone();
        let mut way = vec![Level { fd: from.fd.try_clone().ok(), length: path.len(), waiting: first }];
        while let Some(level) = way.last_mut() {
            path.truncate(level.length);
            let Some(name) = level.waiting.pop() else {
                way.pop();
                continue;
            };
            waiting = waiting.saturating_sub(1);
            let fd = match level.fd.take() {
                Some(fd) => Ok(fd),
                None => self.find(&path).map(|entry| entry.fd),
            };
            let Ok(fd) = fd else { continue };
            let entry = self.step(&fd, &path, name.to_bytes());
            level.fd = Some(fd);
            let Ok(entry) = entry else { continue };
            if way.len() > depth {
                self.lack(&entry.path, "too deep");
                continue;
            }
            let Some(found) = self.read(&entry, depth - way.len(), look, visit, &mut waiting) else {
                if self.stopped {
                    return;
                }
                continue;
            };
            path = entry.path;
            way.push(Level { fd: Some(entry.fd), length: path.len(), waiting: found });
            let above = way.len().checked_sub(OPEN_MAX).and_then(|above| way.get_mut(above));
            if let Some(above) = above {
                above.fd = None;
            }
        }
    }

    /// Visits the first entries of one directory; those to go on into, the first of them last. `None` where that is not done.
    fn read(
        &mut self,
        folder: &Entry,
        depth: usize,
        look: Look<'_>,
        visit: &mut dyn FnMut(&Entry) -> bool,
        waiting: &mut usize,
    ) -> Option<Vec<CString>> {
        let is_new = self.entered.insert((folder.attributes.device, folder.attributes.inode));
        if !folder.attributes.is_dir() || !is_new {
            return None;
        }
        let list = List::of(&folder.fd).map_err(|error| self.lack(&folder.path, &error.to_string()));
        let mut rest = list.ok()?;
        let (found, is_all) = self.visit_all(folder, &mut rest, TURN, look, visit, waiting)?;
        match folder.fd.try_clone() {
            _ if is_all => {}
            Ok(fd) if self.later.len() < LATER_MAX => {
                let folder = Entry { path: folder.path.clone(), fd, attributes: folder.attributes };
                self.later.push(Later { folder, rest, depth });
            }
            _ => self.lack(&folder.path, "the rest of very many entries is left out"),
        }
        Some(found)
    }

    /// Visits at most so many entries of `list`, which are in `folder`; and whether these were all.
    fn visit_all(
        &mut self,
        folder: &Entry,
        list: &mut List,
        most: usize,
        look: Look<'_>,
        visit: &mut dyn FnMut(&Entry) -> bool,
        waiting: &mut usize,
    ) -> Option<(Vec<CString>, bool)> {
        let mut folders = Vec::new();
        let mut count = 0;
        for one in list.take(most) {
            if self.is_over(&folder.path) {
                return None;
            }
            count += 1;
            let (name, kind) = match one {
                Ok(one) => one,
                Err(error) => {
                    self.lack(&folder.path, &error.to_string());
                    break;
                }
            };
            if !look(name.to_bytes(), kind) {
                continue;
            }
            let entry = match self.child(folder, name.to_bytes()) {
                Ok(entry) => entry,
                Err(miss) => {
                    if miss.outcome == Outcome::Refused && miss.detail != KERNEL {
                        self.lack(&[&folder.path, &b"/"[..], name.to_bytes()].concat(), &miss.detail);
                    }
                    continue;
                }
            };
            if visit(&entry) && entry.attributes.is_dir() {
                if *waiting < WAITING_MAX {
                    *waiting += 1;
                    folders.push(name);
                } else {
                    self.lack(&entry.path, "too many directories wait to be entered");
                }
            }
        }
        folders.reverse();
        Some((folders, count < most))
    }
}

#[cfg(test)]
#[path = "down_test.rs"]
mod tests;
