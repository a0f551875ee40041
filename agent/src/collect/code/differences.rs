//! Where the text of a mapping in memory is not that of its file. Pure.

use serde::Serialize;

use crate::collect::segments::hexadecimal;
use crate::text;

/// Differences of one mapping that are shown at most.
pub(super) const DIFFERENCES_MAX: usize = 256;

/// Bytes of each side that are shown of one difference.
const SHOWN: usize = 32;

/// Equal bytes in a row that end a difference.
const GAP: u64 = 8;

/// One stretch that is not as in the file; its first and its last byte differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    #[serde(serialize_with = "hexadecimal")]
    pub(super) address: u64,
    /// Offset in the file.
    #[serde(serialize_with = "hexadecimal")]
    pub(super) offset: u64,
    pub(super) length: u64,
    /// The first bytes of it, in hexadecimal.
    pub(super) memory: String,
    pub(super) file: String,
}

/// The comparison of one mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Comparison {
    pub(super) differences: Vec<Difference>,
    /// Differences beyond those that are shown.
    pub(super) more: u64,
    /// Bytes that differ.
    pub(super) bytes: u64,
    /// Changed pages that were compared, in bytes.
    pub(super) compared: u64,
    /// Changed pages that could not be read, in bytes.
    pub(super) unread: u64,
    #[serde(skip)]
    open: Option<Open>,
    #[serde(skip)]
    most: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    address: u64,
    offset: u64,
    /// One behind the last byte that differs.
    end: u64,
    memory: Vec<u8>,
    file: Vec<u8>,
}

impl Comparison {
    /// Shows at most so many differences, and counts the rest.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.min(DIFFERENCES_MAX), ..Self::default() }
    }

    /// Compares what stands at `address` with the file from `offset` on. Addresses rise from call to call; both sides
    /// have the same length.
    pub(super) fn add(&mut self, address: u64, offset: u64, memory: &[u8], file: &[u8]) {
        self.compared = self.compared.saturating_add(u64::try_from(memory.len()).unwrap_or(u64::MAX));
        for (at, (ours, theirs)) in (0_u64..).zip(memory.iter().zip(file)) {
            let here = address.saturating_add(at);
            if self.open.as_ref().is_some_and(|open| here.saturating_sub(open.end) >= GAP) {
                self.close();
            }
            if ours != theirs {
                self.bytes = self.bytes.saturating_add(1);
                let open = self.open.get_or_insert_with(|| Open {
                    address: here,
                    offset: offset.saturating_add(at),
                    end: here,
                    memory: Vec::new(),
                    file: Vec::new(),
                });
                open.end = here.saturating_add(1);
            }
            if let Some(open) = &mut self.open
                && open.memory.len() < SHOWN
            {
                open.memory.push(*ours);
                open.file.push(*theirs);
            }
        }
    }

    /// After the last call.
    pub(super) fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if self.differences.len() >= self.most {
            self.more = self.more.saturating_add(1);
            return;
        }
        let length = open.end - open.address;
        let shown = usize::try_from(length).unwrap_or(SHOWN).min(SHOWN);
        let hex = |bytes: &[u8]| text::hex(bytes.get(..shown).unwrap_or(bytes));
        self.differences.push(Difference {
            address: open.address,
            offset: open.offset,
            length,
            memory: hex(&open.memory),
            file: hex(&open.file),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(memory: &[u8], file: &[u8], chunk: usize) -> Comparison {
        let mut found = Comparison::new(usize::MAX);
        let mut at = 0;
        for (ours, theirs) in memory.chunks(chunk).zip(file.chunks(chunk)) {
            found.add(0x40_0000 + at, 0x1000 + at, ours, theirs);
            at += u64::try_from(ours.len()).unwrap();
        }
        found.close();
        found
    }

    #[test]
    fn a_hook_is_one_difference_also_across_a_pages_border() {
        let file = [0x90; 200];
        let mut memory = file;
        memory[98..103].copy_from_slice(&[0xe9, 1, 2, 3, 4]);
        memory[150] = 0xcc;
        let expected = |address, offset, length, memory: &str, file: &str| Difference {
            address,
            offset,
            length,
            memory: memory.to_owned(),
            file: file.to_owned(),
        };
        for chunk in [1, 7, 100, 200] {
            let found = compare(&memory, &file, chunk);
            assert_eq!(
                found.differences,
                [
                    expected(0x40_0062, 0x1062, 5, "e901020304", "9090909090"),
                    expected(0x40_0096, 0x1096, 1, "cc", "90"),
                ]
            );
            assert_eq!((found.bytes, found.compared, found.more), (6, 200, 0));
        }
    }

    #[test]
    fn equal_bytes_are_no_difference_and_too_many_are_counted() {
        assert_eq!(compare(&[1; 4096], &[1; 4096], 4096).differences, []);
        let memory: Vec<u8> = (0..300 * 16).map(|at| u8::from(at % 16 == 0)).collect();
        let found = compare(&memory, &vec![0; memory.len()], 4096);
        assert_eq!((found.differences.len(), found.more, found.bytes), (DIFFERENCES_MAX, 44, 300));
    }

    proptest! {
        #[test]
        fn every_byte_that_differs_is_in_one_difference_and_its_ends_differ(
            pair in proptest::collection::vec((0..2_u8, 0..2_u8), 0..600),
            chunk in 1..700_usize,
        ) {
            let (memory, file): (Vec<u8>, Vec<u8>) = pair.into_iter().unzip();
            let found = compare(&memory, &file, chunk);
            let mut covered = vec![false; memory.len()];
            let mut before = 0;
            for one in &found.differences {
                let start = usize::try_from(one.address - 0x40_0000).unwrap();
                let end = start + usize::try_from(one.length).unwrap();
                prop_assert_eq!(one.offset - 0x1000, one.address - 0x40_0000);
                prop_assert!(start >= before && one.length > 0);
                prop_assert!(memory[start] != file[start] && memory[end - 1] != file[end - 1]);
                prop_assert!(text::hex(&memory[start..end]).starts_with(&one.memory));
                prop_assert!(text::hex(&file[start..end]).starts_with(&one.file));
                covered[start..end].fill(true);
                before = end;
            }
            for at in 0..memory.len() {
                prop_assert!(covered[at] || memory[at] == file[at]);
            }
        }
    }
}
