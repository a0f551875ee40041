//! The first bytes of a journal.

use super::{Malformed, Pages};

/// Bits of the incompatible flags: which may be there, and that of the compact form.
const KNOWN: u32 = 0x1f;
const COMPACT: u32 = 0x10;
/// The header of the oldest journals.
const SIZE_MIN: u64 = 208;

/// What is needed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    flags: u32,
    /// Open for writing when it was read, or when its writer died.
    pub(crate) online: bool,
    /// Whose sequence of numbers the entries have: files of one journald share it.
    pub(crate) sequence: [u8; 16],
    pub(super) size: u64,
    pub(crate) entries: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(super) entry_array: u64,
}

impl Header {
    pub(super) fn read(pages: &mut Pages<'_>) -> Result<Self, Malformed> {
        let bytes = match pages.array::<208>(0) {
            Err(Malformed::Object { .. }) => return Err(Malformed::Signature),
            bytes => bytes?,
        };
        if !bytes.starts_with(b"LPKSHHRH") {
            return Err(Malformed::Signature);
        }
        let number = |from: usize| {
            let bytes = bytes.get(from..from.saturating_add(8)).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let flags = bytes.get(12..16).and_then(|bytes| bytes.try_into().ok());
        let flags = u32::from_le_bytes(flags.unwrap_or_default());
        if flags & !KNOWN != 0 {
            return Err(Malformed::Flags(flags));
        }
        let size = number(88);
        if size < SIZE_MIN || size > pages.size() {
            return Err(Malformed::Object { what: "the header", at: 0 });
        }
        Ok(Self {
            flags,
            online: bytes.get(16) == Some(&1),
            sequence: bytes.get(72..88).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default(),
            size,
            entries: number(152),
            last: number(160),
            first: number(168),
            entry_array: number(176),
        })
    }

    pub(super) fn is_compact(&self) -> bool {
        self.flags & COMPACT != 0
    }

    /// Bytes of an item in a list of entries.
    pub(super) fn width(&self) -> u64 {
        if self.is_compact() { 4 } else { 8 }
    }
}
