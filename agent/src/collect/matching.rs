//! What a definition's patterns match on this host, without a shell: by descriptors, below the root.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::readlinkat;

use super::attempts::Miss;
use super::system::Attributes;
use super::walk::{Entry, List, Walker};
use crate::bundle::Outcome;
use crate::definitions::Pattern;
use crate::definitions::pattern::{Part, matches};

/// Paths that one source may match, and of these in one directory: somebody may have filled it.
const MATCHES_MAX: usize = 50_000;
const FOLDER_MAX: usize = 10_000;

/// A search for some patterns.
pub(super) struct Matching<'a> {
    walker: &'a mut Walker,
    homes: &'a [Vec<u8>],
    /// What was found, by its path without links.
    pub(super) found: BTreeMap<Vec<u8>, Attributes>,
    /// Links on the way, and where they lead: as a path without links, or as the link says where nothing is there.
    pub(super) links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What is there and may not be looked at.
    pub(super) refused: BTreeMap<Vec<u8>, Miss>,
}

impl<'a> Matching<'a> {
    pub(super) fn new(walker: &'a mut Walker, homes: &'a [Vec<u8>]) -> Self {
        Self { walker, homes, found: BTreeMap::new(), links: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// Looks for all that `pattern` means.
    pub(super) fn look(&mut self, pattern: &Pattern) {
        let fixed: Vec<&[u8]> = pattern.fixed().collect();
        let rest = pattern.parts.get(fixed.len()..).unwrap_or_default();
        let homes: &[Vec<u8>] = if pattern.at_home { self.homes } else { &[Vec::new()] };
        for home in homes {
            let path = fixed.iter().fold(home.clone(), |path, name| [&path, &b"/"[..], name].concat());
            if let Some(from) = self.at(&path) {
                self.below(&from, rest);
            }
        }
    }

    fn at(&mut self, path: &[u8]) -> Option<Entry> {
        match self.walker.resolve(path) {
            Ok(entry) => {
                if entry.path != path {
                    self.links.insert(path.to_vec(), entry.path.clone());
                }
                Some(entry)
            }
            Err(miss) => {
                if miss.outcome != Outcome::Gone {
                    self.refused.insert(path.to_vec(), miss);
                }
                None
            }
        }
    }

    fn below(&mut self, from: &Entry, parts: &[Part]) {
        match parts {
            [] if self.found.len() < MATCHES_MAX => {
                self.found.insert(from.path.clone(), from.attributes);
            }
            [] => self.walker.lack(&from.path, "too many paths match; the rest is left out"),
            [Part::Name(name), rest @ ..] => {
                let path = [&from.path, &b"/"[..], name].concat();
                if let Some(entry) = self.at(&path) {
                    self.below(&entry, rest);
                }
            }
            [Part::Glob(glob), rest @ ..] => {
                self.each(from, &|name| matches(glob, name), &mut |this, entry, _| {
                    this.below(entry, rest);
                });
            }
            [Part::Below(levels), rest @ ..] => self.levels(from, *levels, rest),
        }
    }

    /// The entries of `from`, of its directories, and so on.
    fn levels(&mut self, from: &Entry, levels: usize, rest: &[Part]) {
        self.each(from, &|_| true, &mut |this, entry, over_link| {
            let is_folder = entry.attributes.is_dir();
            // A tree has one way into each of its directories: over a link only files are taken.
            if is_folder && over_link {
                return;
            }
            if is_folder && levels > 1 {
                this.levels(entry, levels - 1, rest);
            }
            if is_folder != rest.is_empty() {
                this.below(entry, rest);
            }
        });
    }

    /// Visits the entries of a directory whose name is wanted; of a link, what it leads to.
    fn each(
        &mut self,
        folder: &Entry,
        is_wanted: &dyn Fn(&[u8]) -> bool,
        visit: &mut dyn FnMut(&mut Self, &Entry, bool),
    ) {
        if !folder.attributes.is_dir() {
            return;
        }
        let list = match List::of(&folder.fd) {
            Ok(list) => list,
            Err(error) => return self.walker.lack(&folder.path, &error.to_string()),
        };
        let mut wanted = 0;
        for one in list {
            if self.walker.is_over(&folder.path) {
                return;
            }
            let name = match one {
                Ok((name, _)) => name,
                Err(error) => return self.walker.lack(&folder.path, &error.to_string()),
            };
            if !is_wanted(name.to_bytes()) {
                continue;
            }
            if wanted >= FOLDER_MAX {
                return self
                    .walker
                    .lack(&folder.path, "so many of its entries match that the rest is left out");
            }
            wanted += 1;
            let Ok(entry) = self.walker.child(folder, name.to_bytes()) else { continue };
            if !entry.attributes.is_link() {
                visit(self, &entry, false);
            } else if let Some(target) = self.at(&entry.path) {
                visit(self, &target, true);
            } else if let Ok(target) = readlinkat(&entry.fd, c"") {
                self.links.insert(entry.path, target.as_bytes().to_vec());
            }
        }
    }
}

#[cfg(test)]
#[path = "matching_test.rs"]
mod tests;
