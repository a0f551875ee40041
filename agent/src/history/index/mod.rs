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

    /// The frames with events of any of `processes`.
    pub fn of(&self, processes: &HashSet<ProcessId>) -> Vec<u32> {
        let births = self.births().into_iter().map(|birth| (birth.frame, birth.id));
        let all = births.chain(self.guests()).filter(|(_, id)| processes.contains(id));
        let mut frames: Vec<u32> = all.map(|(frame, _)| frame).collect();
        frames.sort_unstable();
        frames.dedup();
        frames
    }
}

#[cfg(test)]
mod test;
