//! What is in which frame of a segment: a small file beside it, with which few frames need to be read.
//!
//! It is a cache. It is believed only where its own checksum is right and the checksums of all its frames are those of
//! the segment; otherwise the segment is read. Numbers are LEB128, of neighbours only the difference is kept:
//!
//! ```text
//! "afterix" version(1)  length of the segment(8)  five sections, each: packed(4) plain(4) zstd
//! SHA-256 of all that (8 bytes of it)
//! ```
//!
//! The sections: frames; boots and the parents of all that were born; births; processes of earlier frames; terms.

mod build;
mod column;
mod file;
mod term;

use std::collections::HashSet;

use jiff::Timestamp;

pub use build::{Builder, Line};
pub use file::{Error, open, write};
pub use term::Term;

use crate::event::ProcessId;

/// The index of one segment. What it says of processes is unpacked when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The frames, in their order.
    pub frames: Vec<Frame>,
    segment_bytes: u64,
    span: Span,
    parents: Vec<ProcessId>,
    births: column::Packed,
    guests: column::Packed,
    terms: column::Packed,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the segment.
    pub offset: u64,
    /// Its compressed bytes.
    pub bytes: u32,
    /// Its last four bytes: zstd's checksum of its content.
    pub check: u32,
    /// Its events.
    pub events: u32,
    /// The time of its oldest event.
    pub first: Timestamp,
    /// The time of its newest event.
    pub last: Timestamp,
}

/// Between which numbers the pids and start times of all births are: most segments need not be unpacked to know that a
/// process was not born there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    pids: (u32, u32),
    starts: (u64, u64),
}

impl Span {
    /// Nobody.
    const EMPTY: Self = Self { pids: (u32::MAX, 0), starts: (u64::MAX, 0) };

    fn include(&mut self, id: &ProcessId) {
        self.pids = (self.pids.0.min(id.pid), self.pids.1.max(id.pid));
        self.starts = (self.starts.0.min(id.start), self.starts.1.max(id.start));
    }
}

/// A process that was born, or first seen, in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Which.
    pub id: ProcessId,
    /// Its parent's place in [`Index::parents`].
    pub parent: Option<u32>,
    /// The frame.
    pub frame: u32,
}

impl Index {
    /// The parents of all that were born here, each once.
    pub fn parents(&self) -> &[ProcessId] {
        &self.parents
    }

    /// Who was born here, in the order of the events.
    pub fn births(&self) -> Vec<Birth> {
        file::births(&self.births, self.parents.len(), self.frames.len())
    }

    /// Processes with events in a frame, and born in an earlier one.
    pub fn guests(&self) -> Vec<(u32, ProcessId)> {
        file::guests(&self.guests, self.frames.len())
    }

    /// For each of `terms`, the frames in which it may be; a few others may be among them.
    pub fn with(&self, terms: &[Term]) -> Vec<Vec<u32>> {
        file::with(&self.terms, terms, self.frames.len())
    }

    /// Whether this process may have been born here.
    pub fn may_bear(&self, id: &ProcessId) -> bool {
        let Span { pids, starts } = self.span;
        (pids.0..=pids.1).contains(&id.pid) && (starts.0..=starts.1).contains(&id.start)
    }

    /// Whether a process with this pid may have been born here.
    pub fn may_bear_pid(&self, pid: u32) -> bool {
        (self.span.pids.0..=self.span.pids.1).contains(&pid)
    }

    /// The frames in which any of `processes` was born.
    pub fn born(&self, processes: &HashSet<ProcessId>) -> Vec<u32> {
        if !processes.iter().any(|id| self.may_bear(id)) {
            return Vec::new();
        }
        let births = self.births().into_iter().filter(|birth| processes.contains(&birth.id));
        sorted(births.map(|birth| birth.frame).collect())
    }

    /// The frames with events of any of `processes`.
    pub fn of(&self, processes: &HashSet<ProcessId>) -> Vec<u32> {
        let guests = self.guests().into_iter().filter(|(_, id)| processes.contains(id));
        sorted(guests.map(|(frame, _)| frame).chain(self.born(processes)).collect())
    }
}

fn sorted(mut frames: Vec<u32>) -> Vec<u32> {
    frames.sort_unstable();
    frames.dedup();
    frames
}

#[cfg(test)]
mod test;
