//! Which logs became shorter: the size of each is remembered, and compared when it was written to.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;

use super::marks::{self, Directory, Marks};
use super::touch;
use crate::event::touch::{Deed, Touch};
use crate::places::record::{Handle, mask};
use crate::text::Bytes;

/// Logs whose size is remembered.
const LOGS_MAX: usize = 4096;

/// Sizes, and what was written to since they were last compared.
#[derive(Default)]
pub(super) struct Logs {
    sizes: HashMap<Bytes, u64>,
    written: HashMap<(Handle, Vec<u8>), HashSet<u32>>,
}

impl Logs {
    /// Remembers how long the files of a directory are.
    pub(super) fn learn(
        &mut self,
        marks: Option<&Marks>,
        handle: &Handle,
        directory: &Directory,
        names: &[Vec<u8>],
    ) {
        let Some(opened) = marks.and_then(|marks| marks.open(handle)) else { return };
        for name in names {
            if let Some(size) = marks::size(opened.as_fd(), name) {
                self.note(directory.join(name), size);
            }
        }
    }

    /// Nothing that is remembered is certain.
    pub(super) fn forget_all(&mut self) {
        self.sizes.clear();
    }

    /// What counts at once: names that go, and names that are taken from another file. Of what is written to (by this
    /// pid, as this mask says) it is found later whether it was cut.
    pub(super) fn deeds(
        &mut self,
        marks: &Marks,
        handle: &Handle,
        directory: &Directory,
        name: &[u8],
        (bits, pid): (u64, u32),
    ) -> Vec<Deed> {
        let path = directory.join(name);
        let mut deeds = Vec::new();
        for (bit, deed) in [(mask::MOVED_FROM, Deed::RenamedOut), (mask::DELETE, Deed::Deleted)] {
            if bits & bit != 0 {
                self.sizes.remove(&path);
                deeds.push(deed);
            }
        }
        if bits & (mask::CREATE | mask::MOVED_TO) != 0 {
            let known = self.sizes.remove(&path).is_some();
            if known && bits & mask::MOVED_TO != 0 {
                deeds.push(Deed::RenamedIn);
            }
            if let Some(size) = marks.open(handle).and_then(|opened| marks::size(opened.as_fd(), name)) {
                self.note(path, size);
            }
        }
        if bits & mask::MODIFY != 0 {
            self.written.entry((handle.clone(), name.to_vec())).or_default().insert(pid);
        }
        deeds
    }

    /// Which logs became shorter, told of each who wrote to it since the last call.
    pub(super) fn cut(&mut self, marks: &Marks) -> Vec<(u32, Touch)> {
        let mut opened = HashMap::new();
        let mut cut = Vec::new();
        for ((handle, name), pids) in std::mem::take(&mut self.written) {
            let Some(directory) = marks.directory(&handle) else { continue };
            let opened = opened.entry(handle.clone()).or_insert_with(|| marks.open(&handle));
            let Some(size) = opened.as_ref().and_then(|opened| marks::size(opened.as_fd(), &name)) else {
                continue;
            };
            let before = self.note(directory.join(&name), size).filter(|before| size < *before);
            if before.is_none() {
                continue;
            }
            let writers = u64::try_from(pids.len()).ok().filter(|writers| *writers > 1);
            let touch = touch(Deed::Truncated, directory, &name);
            let touch = Touch { before, after: Some(size), writers, ..touch };
            cut.extend(pids.into_iter().map(|pid| (pid, touch.clone())));
        }
        cut
    }

    /// Remembers a size; the one before.
    fn note(&mut self, path: Bytes, size: u64) -> Option<u64> {
        if self.sizes.len() >= LOGS_MAX && !self.sizes.contains_key(&path) {
            return None;
        }
        self.sizes.insert(path, size)
    }
}
