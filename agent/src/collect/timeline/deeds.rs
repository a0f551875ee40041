//! What the history tells about files: who renamed, deleted, made executable, or touched them in a place that matters.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::collect::names::split;
use crate::event::call::{Call, What};
use crate::event::touch::{Deed, Touch};
use crate::event::{Action, Event, ProcessId};
use crate::history::query::Library;
use crate::text;

/// Paths that are remembered, and deeds of each of them: the newest.
const PATHS_MAX: usize = 20_000;
const DEEDS_MAX: usize = 16;

/// One thing that was done to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Done {
    pub(super) time: Timestamp,
    pub(super) what: String,
    /// By whom, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<ProcessId>,
    /// How much it says.
    #[serde(skip)]
    pub(super) weight: i32,
}

/// All that was told, by path.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    of: BTreeMap<Vec<u8>, Vec<Done>>,
    /// Folders in which the family did something.
    folders: HashSet<Vec<u8>>,
    family: HashSet<ProcessId>,
    pub(super) left_out: u64,
    /// What was not read, in words.
    pub(super) unread: Vec<String>,
}

impl Deeds {
    /// With the processes whose deeds count most.
    pub(super) fn new(family: HashSet<ProcessId>) -> Self {
        Self { family, ..Self::default() }
    }

    /// Reads what the history in `folder` tells since then, the newest first, until `until`.
    pub(super) fn read(&mut self, folder: &Path, since: Timestamp, until: Instant) {
        let library = match Library::open(folder, since) {
            Ok(library) => library,
            Err(error) => return self.unread.push(error.to_string()),
        };
        self.unread.extend(library.unreadable.iter().cloned());
        let places = library.between(since, Timestamp::MAX);
        for (count, place) in places.iter().rev().enumerate() {
            if Instant::now() >= until {
                let left = places.len() - count;
                return self
                    .unread
                    .push(format!("{left} older frames of the history were not read in the time"));
            }
            let mut events = Vec::new();
            let read = library.read(
                *place,
                &|line| line.time >= since && matches!(&*line.action, "call" | "touch"),
                &mut |event| events.push(event),
            );
            self.unread.extend(read.err().map(|error| error.to_string()));
            events.iter().rev().for_each(|event| self.apply(event));
        }
    }

    /// Takes in one event.
    pub(super) fn apply(&mut self, event: &Event) {
        match &event.action {
            Action::Call(call) => self.call(event, call),
            Action::Touch(touch) => {
                let process = (!touch.unknown).then_some(event.process);
                let (weight, what) = touched(touch);
                self.add(touch.path.as_slice(), event.time, process, weight, what);
            }
            _ => {}
        }
    }

    fn call(&mut self, event: &Event, call: &Call) {
        let (path, target) = (call.path.as_slice(), call.target.as_slice());
        let mut add = |path: &[u8], weight, what: String| {
            self.add(path, event.time, Some(event.process), weight, what);
        };
        match call.what {
            What::Chmod => add(path, 3, "made executable".to_owned()),
            What::Unlink => add(path, 2, "deleted".to_owned()),
            What::Rename => {
                add(path, 1, format!("renamed to {}", text::escape(target)));
                add(target, 2, format!("renamed from {}", text::escape(path)));
            }
            _ => {}
        }
    }

    fn add(&mut self, path: &[u8], time: Timestamp, process: Option<ProcessId>, weight: i32, what: String) {
        if !path.starts_with(b"/") {
            return;
        }
        let full = self.of.len() >= PATHS_MAX && !self.of.contains_key(path);
        let all = (!full).then(|| self.of.entry(path.to_vec()).or_default());
        let Some(all) = all.filter(|all| all.len() < DEEDS_MAX) else {
            self.left_out += 1;
            return;
        };
        all.push(Done { time, what, process, weight });
        if process.is_some_and(|process| self.family.contains(&process)) {
            self.folders.insert(split(path).0.to_vec());
        }
    }

    /// What was done to a file, which is then forgotten; newest first.
    pub(super) fn take(&mut self, path: &[u8]) -> Vec<Done> {
        self.of.remove(path).unwrap_or_default()
    }

    /// What nobody took.
    pub(super) fn rest(&mut self) -> BTreeMap<Vec<u8>, Vec<Done>> {
        std::mem::take(&mut self.of)
    }

    /// Whether a process of the family did one of them.
    pub(super) fn by_family(&self, all: &[Done]) -> bool {
        all.iter().filter_map(|done| done.process).any(|process| self.family.contains(&process))
    }

    /// Another folder whose files are of interest.
    pub(super) fn near(&mut self, folder: &[u8]) {
        self.folders.insert(folder.to_vec());
    }

    /// Whether a file lies beside what the family did.
    pub(super) fn is_near(&self, path: &[u8]) -> bool {
        self.folders.contains(split(path).0)
    }
}

fn touched(touch: &Touch) -> (i32, String) {
    let (weight, what) = match touch.deed {
        Deed::Found => (1, "found in a new directory"),
        Deed::Created => (2, "created"),
        Deed::Written => (2, "written"),
        Deed::RenamedIn => (2, "renamed to this name"),
        Deed::RenamedOut => (2, "renamed to another name"),
        Deed::Deleted => (3, "deleted"),
        Deed::Attributes => (1, "owner, mode or times changed"),
        Deed::Truncated => (6, "made shorter"),
    };
    let sizes =
        touch.before.zip(touch.after).map(|(before, after)| format!(", from {before} to {after} bytes"));
    (weight, format!("{what}{}", sizes.unwrap_or_default()))
}

#[cfg(test)]
#[path = "deeds_test.rs"]
mod tests;
