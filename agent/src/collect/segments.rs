//! Which pages of a process go into its core, in which order: what exists nowhere else comes first. Pure.

use serde::Serialize;

use super::system::pagemap::PageRun;
use crate::proc::Mapping;

/// Segments of one core. gdb takes some seconds for so many, and the kernel allows a process 65,530 mappings by default.
pub(super) const SEGMENTS_MAX: usize = 1 << 18;

/// Holes of anonymous memory up to this many bytes are written as zeros, which they read as anyway.
const BRIDGE_MAX: u64 = 64 << 10;

/// How much a page is worth, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Worth {
    /// First pages of mapped files (a debugger finds the build ids there) and the vdso: few, and of use to all the rest.
    Header,
    /// Executable memory without a file, or whose file was deleted.
    AnonymousExecutable,
    /// Memory without a file that the process itself cannot reach: what is hidden there is decrypted when needed.
    Unreachable,
    /// The stacks of all threads: without them there are no back-traces.
    Stack,
    /// The heap, and other private memory without a file: the same to an allocator.
    Private,
    /// Shared memory without a file.
    Shared,
    /// Pages of a private file mapping that were modified.
    Modified,
    /// Pages that are in a file too.
    File,
}

/// Neighbouring addresses that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Not there: written as zeros, never read.
    pub(super) zero: bool,
}

/// One segment of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Read, write, execute.
    pub(super) flags: u32,
    pub(super) worth: Worth,
    /// Without gaps from `start` to `end`.
    pub(super) pieces: Vec<Piece>,
}

impl Segment {
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }
}

/// A range that is not in the core, and why; pages that are not present are no holes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hole {
    #[serde(serialize_with = "hexadecimal")]
    pub(super) start: u64,
    #[serde(serialize_with = "hexadecimal")]
    pub(super) end: u64,
    pub(super) why: String,
}

/// What bounds a core, and helps to choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    /// Bytes of a page.
    pub(super) page: u64,
    /// Bytes of all segments.
    pub(super) budget: u64,
    /// Of these, of pages that are the same in their file.
    pub(super) file_pages: u64,
    /// Where the stack of each thread ends, in order.
    pub(super) stacks: &'a [u64],
}

/// What goes in, most worthy first, and what does not.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) segments: Vec<Segment>,
    pub(super) holes: Vec<Hole>,
    /// Bytes of the segments.
    pub(super) bytes: u64,
}

/// Why pages are left out of which there is another copy.
pub(super) const IN_FILE: &str = "more pages that are the same in their file than are taken";

/// Chooses among the present pages of `mappings`.
pub(super) fn select(mappings: &[(Mapping, Vec<PageRun>)], choice: Choice<'_>) -> Selection {
    let mut all: Vec<Segment> =
        mappings.iter().flat_map(|(mapping, runs)| segments(mapping, runs, choice)).collect();
    all.sort_by_key(|segment| (segment.worth, segment.start));
    let mut selection = Selection::default();
    let mut file_pages = choice.file_pages;
    for mut segment in all {
        if selection.segments.len() >= SEGMENTS_MAX {
            selection.hole(segment.start, segment.end, "more segments than a core may have");
            continue;
        }
        let room = choice.budget - selection.bytes;
        let is_file = segment.worth == Worth::File;
        let (room, why) = if is_file && file_pages < room {
            (file_pages, IN_FILE)
        } else {
            (room, "over the memory budget")
        };
        let room = room / choice.page * choice.page;
        if segment.len() > room {
            let cut = segment.start + room;
            selection.hole(cut, segment.end, why);
            segment.end = cut;
            segment.pieces.retain_mut(|piece| {
                piece.end = piece.end.min(cut);
                piece.start < piece.end
            });
        }
        if !segment.pieces.is_empty() {
            if is_file {
                file_pages -= segment.len();
            }
            selection.bytes += segment.len();
            selection.segments.push(segment);
        }
    }
    selection
}

impl Selection {
    fn hole(&mut self, start: u64, end: u64, why: &str) {
        self.holes.push(Hole { start, end, why: why.to_owned() });
    }
}

/// The present pages of one mapping as segments, in address order.
fn segments(mapping: &Mapping, runs: &[PageRun], choice: Choice<'_>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let first = choice.stacks.partition_point(|stack| *stack < mapping.start);
    let is_stack = mapping.path.as_slice() == b"[stack]"
        || choice.stacks.get(first).is_some_and(|stack| *stack < mapping.end);
    for run in runs {
        let (start, end) = (run.start.max(mapping.start), run.end.min(mapping.end));
        if start >= end {
            continue;
        }
        // The first page of a file is worth more than the rest of its run.
        let head = mapping.inode != 0 && mapping.offset == 0 && start == mapping.start;
        let middle = if head { (start + choice.page).min(end) } else { start };
        for (start, end, head) in [(start, middle, true), (middle, end, false)] {
            if start < end {
                add(&mut segments, mapping, start, end, worth(mapping, run.file, head, is_stack));
            }
        }
    }
    segments
}

fn add(segments: &mut Vec<Segment>, mapping: &Mapping, start: u64, end: u64, worth: Worth) {
    let bridge = if mapping.inode == 0 { BRIDGE_MAX } else { 0 };
    let piece = Piece { start, end, zero: false };
    match segments.last_mut() {
        Some(last) if last.worth == worth && start - last.end <= bridge => {
            if last.end < start {
                last.pieces.push(Piece { start: last.end, end: start, zero: true });
            }
            last.pieces.push(piece);
            last.end = end;
        }
        _ => {
            let flags =
                u32::from(mapping.read) << 2 | u32::from(mapping.write) << 1 | u32::from(mapping.exec);
            segments.push(Segment { start, end, flags, worth, pieces: vec![piece] });
        }
    }
}

fn worth(mapping: &Mapping, file: bool, head: bool, is_stack: bool) -> Worth {
    let path = mapping.path.as_slice();
    // A deleted file's pages, and a memfd's, are in no file that anyone could read later.
    let nowhere = mapping.inode == 0 || path.ends_with(b" (deleted)");
    match path {
        _ if head => Worth::Header,
        b"[vdso]" => Worth::Header,
        _ if nowhere && mapping.exec => Worth::AnonymousExecutable,
        _ if nowhere && !mapping.read && !mapping.write => Worth::Unreachable,
        _ if nowhere && is_stack => Worth::Stack,
        _ if nowhere && !mapping.shared => Worth::Private,
        _ if nowhere => Worth::Shared,
        _ if !file => Worth::Modified,
        _ => Worth::File,
    }
}

/// Addresses are for people, in hexadecimal.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
pub(super) fn hexadecimal<S: serde::Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}

#[cfg(test)]
#[path = "segments_test.rs"]
mod tests;
