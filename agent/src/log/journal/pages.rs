//! A file by pages, each read once: entries lead to and fro in it, many of them to the same fields.

use std::collections::HashMap;
use std::io;

use super::Malformed;

const PAGE: usize = 64 << 10;
/// Pages that are kept; then all are forgotten.
const PAGES_MAX: usize = 256;

/// Reads at an offset, as `FileExt::read_at` does.
pub(crate) type ReadAt<'a> = Box<dyn Fn(&mut [u8], u64) -> io::Result<usize> + 'a>;

/// The pages, and how long the file was when it was opened: what is behind is not looked at.
pub(crate) struct Pages<'a> {
    read: ReadAt<'a>,
    size: u64,
    known: HashMap<u64, Vec<u8>>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(read: ReadAt<'a>, size: u64) -> Self {
        Self { read, size, known: HashMap::new() }
    }

    /// Keeps nothing of what was read.
    pub(super) fn forget(&mut self) {
        self.known = HashMap::new();
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn u64(&mut self, at: u64) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }

    pub(super) fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes(at, u64::try_from(N).unwrap_or(u64::MAX))?;
        bytes.try_into().map_err(|_| Malformed::Object { what: "a record", at })
    }

    /// Exactly `length` bytes, which the caller has bounded.
    pub(super) fn bytes(&mut self, at: u64, length: u64) -> Result<Vec<u8>, Malformed> {
        let wrong = || Malformed::Object { what: "a record", at };
        let end = at.checked_add(length).filter(|end| *end <= self.size).ok_or_else(wrong)?;
        let page = u64::try_from(PAGE).unwrap_or(u64::MAX);
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(|_| wrong())?);
        let mut next = at;
        while next < end {
            let number = next / page;
            let from = usize::try_from(next % page).map_err(|_| wrong())?;
            let most = usize::try_from(end.saturating_sub(next)).map_err(|_| wrong())?;
            let page = self.page(number)?;
            let until = from.saturating_add(most).min(page.len());
            let part = page.get(from..until).filter(|part| !part.is_empty()).ok_or_else(wrong)?;
            bytes.extend_from_slice(part);
            next = next.saturating_add(u64::try_from(part.len()).map_err(|_| wrong())?);
        }
        Ok(bytes)
    }

    fn page(&mut self, number: u64) -> Result<&[u8], Malformed> {
        if self.known.len() >= PAGES_MAX && !self.known.contains_key(&number) {
            self.known.clear();
        }
        match self.known.entry(number) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(new) => {
                let start = number.saturating_mul(u64::try_from(PAGE).unwrap_or(u64::MAX));
                let left = usize::try_from(self.size.saturating_sub(start)).unwrap_or(PAGE).min(PAGE);
                let (mut page, mut filled) = (vec![0; left], 0);
                while let Some(room) = page.get_mut(filled..).filter(|room| !room.is_empty()) {
                    let at = start.saturating_add(u64::try_from(filled).unwrap_or_default());
                    match (self.read)(room, at)? {
                        // It has become shorter.
                        0 => break,
                        count => filled = filled.saturating_add(count),
                    }
                }
                page.truncate(filled);
                Ok(new.insert(page))
            }
        }
    }
}
