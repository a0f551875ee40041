//! Files of systemd's journal (systemd.io/JOURNAL_FILE_FORMAT), regular and compact. A journal may be written to while it is
//! read: objects are only ever appended, and the header is read first, so that what it counts is there; what came later is
//! not looked at.

mod data;
mod header;
mod pages;

use std::io;

use thiserror::Error;

pub(crate) use data::{Field, Value};
pub(crate) use header::Header;
pub(crate) use pages::Pages;

/// Entries of one file that are looked at; journald's own files have some 100,000.
const ENTRIES_MAX: u64 = 4_000_000;
/// Fields of one entry; journald takes 1,024.
const FIELDS_MAX: usize = 1_024;
/// Bytes of the fields of one entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Bytes before what an object is about.
const OBJECT: u64 = 16;
/// Types of objects.
const DATA: u8 = 1;
const ENTRY: u8 = 3;
const ENTRY_ARRAY: u8 = 6;

/// Why something in a journal cannot be read.
#[derive(Debug, Error)]
pub(crate) enum Malformed {
    /// It is another kind of file.
    #[error("no journal: it does not begin with LPKSHHRH")]
    Signature,
    /// It is of a kind that this program does not know.
    #[error("a journal with flags that are not known ({0:#x})")]
    Flags(u32),
    /// Something points behind the end, or is none of what is expected there.
    #[error("{what} at byte {at} is not whole, or none")]
    Object {
        /// What was expected.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// The file could not be read.
    #[error("read: {0}")]
    Read(#[from] io::Error),
}

/// An open journal.
pub(crate) struct Journal<'a> {
    pages: Pages<'a>,
    pub(crate) header: Header,
}

/// The beginning of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seqnum: u64,
    /// Microseconds since 1970, and since the boot.
    pub(crate) realtime: u64,
    pub(crate) monotonic: u64,
    pub(crate) boot: [u8; 16],
    /// Where its items end.
    end: u64,
}

/// An object's type, flags, and where it ends.
struct Object {
    kind: u8,
    flags: u8,
    end: u64,
}

impl<'a> Journal<'a> {
    /// Reads the header.
    pub(crate) fn open(mut pages: Pages<'a>) -> Result<Self, Malformed> {
        let header = Header::read(&mut pages)?;
        Ok(Self { pages, header })
    }

    /// Keeps nothing of what was read: many files may be open.
    pub(crate) fn forget(&mut self) {
        self.pages.forget();
    }

    /// Where the entries are that the header counts, in the order in which they were written. What is not right ends it.
    pub(crate) fn entries(&mut self) -> (Vec<u64>, Option<Malformed>) {
        let mut entries = Vec::new();
        let failure = self.gather(&mut entries).err();
        (entries, failure)
    }

    fn gather(&mut self, entries: &mut Vec<u64>) -> Result<(), Malformed> {
        let mut left = self.header.entries.min(ENTRIES_MAX);
        let mut at = self.header.entry_array;
        let width = self.header.width();
        while left > 0 && at != 0 {
            let end = self.object(at, ENTRY_ARRAY, "a list of entries")?.end;
            let next = self.pages.u64(at.saturating_add(OBJECT))?;
            let mut item = at.saturating_add(OBJECT + 8);
            while left > 0 && item.saturating_add(width) <= end {
                let offset = self.offset(item)?;
                // The rest of the list is not in use yet.
                if offset == 0 {
                    break;
                }
                entries.push(offset);
                left -= 1;
                item += width;
            }
            // Lists are appended: one that leads back would never end.
            if next != 0 && next <= at {
                return Err(Malformed::Object { what: "the next list of entries", at: next });
            }
            at = next;
        }
        Ok(())
    }

    /// When the entry at `at` was written, and as which.
    pub(crate) fn head(&mut self, at: u64) -> Result<Head, Malformed> {
        let end = self.object(at, ENTRY, "an entry")?.end;
        let bytes = self.pages.array::<64>(at)?;
        let number = |from: usize| {
            let bytes = bytes.get(from..from.saturating_add(8)).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let boot = bytes.get(40..56).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        Ok(Head { seqnum: number(16), realtime: number(24), monotonic: number(32), boot, end })
    }

    /// The fields of the entry at `at`, which begins so; those that are broken are counted.
    pub(crate) fn fields(&mut self, at: u64, head: &Head) -> (Vec<Field>, usize) {
        let width = if self.header.is_compact() { 4 } else { 16 };
        let (mut fields, mut broken) = (Vec::new(), 0);
        let (mut item, mut bytes) = (at.saturating_add(64), 0);
        while item.saturating_add(width) <= head.end {
            if fields.len() >= FIELDS_MAX || bytes >= ENTRY_BYTES_MAX || broken >= FIELDS_MAX {
                return (fields, broken.saturating_add(1));
            }
            match self.offset(item).and_then(|offset| self.field(offset)) {
                Ok(field) => {
                    bytes = bytes.saturating_add(field.len());
                    fields.push(field);
                }
                Err(_) => broken += 1,
            }
            item += width;
        }
        (fields, broken)
    }

    fn field(&mut self, at: u64) -> Result<Field, Malformed> {
        let object = self.object(at, DATA, "a field")?;
        let start = at.saturating_add(if self.header.is_compact() { 72 } else { 64 });
        let size = object.end.checked_sub(start).ok_or(Malformed::Object { what: "a field", at })?;
        let stored = self.pages.bytes(start, size.min(data::STORED_MAX))?;
        let whole = size <= data::STORED_MAX;
        data::field(&stored, whole, object.flags).ok_or(Malformed::Object { what: "a field", at })
    }

    /// What begins at `at`, if it is what is wanted and lies in the file.
    fn object(&mut self, at: u64, kind: u8, what: &'static str) -> Result<Object, Malformed> {
        let wrong = || Malformed::Object { what, at };
        if at < self.header.size || !at.is_multiple_of(8) {
            return Err(wrong());
        }
        let [found, flags, _, _, _, _, _, _, size @ ..] = self.pages.array::<16>(at)?;
        let end = at.checked_add(u64::from_le_bytes(size)).ok_or_else(wrong)?;
        let object = Object { kind: found, flags, end };
        let least = if kind == ENTRY_ARRAY { 24 } else { 64 };
        let fits = end >= at.saturating_add(least) && end <= self.pages.size();
        if object.kind == kind && fits { Ok(object) } else { Err(wrong()) }
    }

    /// A place in the file, as lists of this kind of journal have it.
    fn offset(&mut self, at: u64) -> Result<u64, Malformed> {
        if self.header.is_compact() {
            Ok(u32::from_le_bytes(self.pages.array(at)?).into())
        } else {
            self.pages.u64(at)
        }
    }
}

#[cfg(test)]
#[path = "journal_test.rs"]
mod tests;
