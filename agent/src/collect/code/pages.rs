//! What each executable page of a process came from. Pure.

use serde::Serialize;

use crate::collect::segments::hexadecimal;
use crate::collect::system::pagemap::PageRun;
use crate::proc::Mapping;
use crate::text::Bytes;

/// What a mapping is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    File,
    DeletedFile,
    Memfd,
    /// Shared memory without a file: System V, or shared between relatives.
    SharedMemory,
    Heap,
    Stack,
    Anonymous,
    Vdso,
    /// Another page of the kernel's.
    Kernel,
}

impl Kind {
    fn of(mapping: &Mapping, memory: &impl Fn((u32, u32)) -> bool) -> Self {
        let path = mapping.path.as_slice();
        match path {
            _ if mapping.inode != 0 && path.starts_with(b"/memfd:") => Self::Memfd,
            _ if mapping.inode != 0 && memory(mapping.device) => Self::SharedMemory,
            _ if mapping.inode != 0 && path.ends_with(b" (deleted)") => Self::DeletedFile,
            _ if mapping.inode != 0 => Self::File,
            b"[heap]" => Self::Heap,
            b"[stack]" => Self::Stack,
            b"[vdso]" => Self::Vdso,
            b"[vsyscall]" | b"[uprobes]" | b"[sigpage]" | b"[vectors]" => Self::Kernel,
            _ => Self::Anonymous,
        }
    }

    /// Whether there is content to compare with.
    pub(super) fn has_file(self) -> bool {
        matches!(self, Self::File | Self::DeletedFile | Self::Memfd)
    }
}

/// What each of a process's mappings (all of them, in order) is of. `memory` says whether a device is that of memfds and
/// shared memory.
pub(super) fn kinds(all: &[Mapping], memory: &impl Fn((u32, u32)) -> bool) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = all.iter().map(|mapping| Kind::of(mapping, memory)).collect();
    // A stack of which a part has other permissions is several mappings; the kernel names the topmost only.
    let mut stack_begins = None;
    for (mapping, kind) in all.iter().zip(&mut kinds).rev() {
        if *kind == Kind::Anonymous && mapping.path.is_empty() && stack_begins == Some(mapping.end) {
            *kind = Kind::Stack;
        }
        if *kind == Kind::Stack {
            stack_begins = Some(mapping.start);
        }
    }
    kinds
}

/// Where pages came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// They are the file's own: whoever reads the file reads them.
    File,
    /// The process has written to them: they are its own copy.
    Changed,
    /// There never was a file.
    Anonymous,
    /// The kernel made them.
    Kernel,
}

/// Pages that are in memory (or swapped out) and have the same source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Run {
    #[serde(serialize_with = "hexadecimal")]
    pub(super) start: u64,
    #[serde(serialize_with = "hexadecimal")]
    pub(super) end: u64,
    pub(super) source: Source,
}

/// The runs of one mapping, from those of its pages that are there.
pub(super) fn runs(mapping: &Mapping, kind: Kind, pages: &[PageRun]) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for page in pages {
        let (start, end) = (page.start.max(mapping.start), page.end.min(mapping.end));
        if start >= end {
            continue;
        }
        let source = match kind {
            Kind::File | Kind::DeletedFile | Kind::Memfd if page.file => Source::File,
            Kind::File | Kind::DeletedFile | Kind::Memfd => Source::Changed,
            Kind::Vdso if !page.file => Source::Changed,
            Kind::Vdso | Kind::Kernel => Source::Kernel,
            Kind::SharedMemory | Kind::Heap | Kind::Stack | Kind::Anonymous => Source::Anonymous,
        };
        match all.last_mut() {
            Some(last) if last.end == start && last.source == source => last.end = end,
            _ => all.push(Run { start, end, source }),
        }
    }
    all
}

/// One executable mapping, for `code.json`.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(serialize_with = "hexadecimal")]
    pub(super) start: u64,
    #[serde(serialize_with = "hexadecimal")]
    pub(super) end: u64,
    pub(super) permissions: String,
    pub(super) kind: Kind,
    pub(super) path: Bytes,
    #[serde(serialize_with = "hexadecimal")]
    pub(super) offset: u64,
    /// Which of `files` it is of.
    pub(super) file: Option<usize>,
    /// The pages that are there. The others would be read from the file, or are zeros, when they are touched.
    pub(super) pages: Vec<Run>,
    /// Of changed pages: how many bytes of them are not as in the file. `None` where nothing was compared.
    pub(super) differing: Option<u64>,
}

/// As in `maps`.
pub(super) fn permissions(mapping: &Mapping) -> String {
    let flag = |set, letter| if set { letter } else { '-' };
    [
        flag(mapping.read, 'r'),
        flag(mapping.write, 'w'),
        flag(mapping.exec, 'x'),
        if mapping.shared { 's' } else { 'p' },
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proc::mappings;

    fn mapping(line: &str) -> Mapping {
        mappings(line.as_bytes()).remove(0)
    }

    #[test]
    fn mappings_are_told_apart() {
        for (tail, expected) in [
            ("08:01 7 /usr/bin/x", Kind::File),
            ("08:01 7 /tmp/x (deleted)", Kind::DeletedFile),
            ("00:01 7 /memfd:x (deleted)", Kind::Memfd),
            ("00:01 7 /SYSV00000000 (deleted)", Kind::SharedMemory),
            // A file of that name is a file.
            ("08:01 7 /dev/zero (deleted)", Kind::DeletedFile),
            ("00:00 0 [heap]", Kind::Heap),
            ("00:00 0 [stack]", Kind::Stack),
            ("00:00 0 [vdso]", Kind::Vdso),
            ("00:00 0 [vsyscall]", Kind::Kernel),
            ("00:00 0 [anon:x]", Kind::Anonymous),
            ("00:00 0 ", Kind::Anonymous),
            ("08:01 7 /tmp/[heap]", Kind::File),
        ] {
            let one = mapping(&format!("1000-2000 r-xp 0 {tail}"));
            assert_eq!(kinds(&[one], &|device| device == (0, 1)), [expected], "{tail}");
        }
    }

    #[test]
    fn a_stack_in_several_parts_is_one_stack() {
        let all = mappings(
            b"1000-2000 rw-p 0 00:00 0 \n3000-4000 rw-p 0 00:00 0 \n4000-5000 rwxp 0 00:00 0 \n\
              5000-6000 rw-p 0 00:00 0 [stack]\n6000-7000 rw-p 0 00:00 0 \n",
        );
        let found = kinds(&all, &|_| false);
        assert_eq!(found, [Kind::Anonymous, Kind::Stack, Kind::Stack, Kind::Stack, Kind::Anonymous]);
    }

    #[test]
    fn a_page_that_was_written_to_is_the_processes_own() {
        let one = mapping("1000-9000 r-xp 0 08:01 7 /usr/bin/x");
        let pages = [
            PageRun { start: 0x1000, end: 0x3000, file: true },
            PageRun { start: 0x3000, end: 0x4000, file: false },
            PageRun { start: 0x6000, end: 0x7000, file: false },
        ];
        let found: Vec<_> =
            runs(&one, Kind::File, &pages).iter().map(|run| (run.start, run.source)).collect();
        assert_eq!(found, [(0x1000, Source::File), (0x3000, Source::Changed), (0x6000, Source::Changed)]);
        assert_eq!(runs(&one, Kind::Anonymous, &pages).len(), 2, "neighbours of one source are one run");
        assert_eq!(runs(&one, Kind::Vdso, &pages)[1].source, Source::Changed);
    }

    proptest! {
        #[test]
        fn any_maps_are_told_apart(text: Vec<u8>, lines in "([0-9a-f]{1,4}-[0-9a-f]{1,4} rwx[ps] 0 0:[01] [01] [\\[a-z(/ )\\]]{0,9}\n){0,9}") {
            for text in [text.as_slice(), lines.as_bytes()] {
                let all = mappings(text);
                prop_assert_eq!(kinds(&all, &|_| true).len(), all.len());
            }
        }

        #[test]
        fn runs_are_in_order_within_the_mapping(
            pages in proptest::collection::vec((0..20_u64, 0..4_u64, any::<bool>()), 0..12),
        ) {
            let one = mapping("5000-d000 r-xp 0 08:01 7 /x");
            let mut at = 0;
            let mut given = Vec::new();
            for (gap, length, file) in pages {
                let start = at + gap * 0x1000;
                at = start + length * 0x1000;
                given.push(PageRun { start, end: at, file });
            }
            let found = runs(&one, Kind::File, &given);
            let mut before = one.start;
            for run in &found {
                prop_assert!(run.start >= before && run.start < run.end && run.end <= one.end);
                before = run.end;
            }
        }
    }
}
