//! A field of an entry, `NAME=value`, as it lies in the file.

use std::io::Read;

use crate::text::Bytes;

/// Bytes of a field as they are stored that are read, and of a value that are shown.
pub(super) const STORED_MAX: u64 = 256 << 10;
const VALUE_MAX: usize = 64 << 10;
/// Room for the name before it; journald takes 64 bytes.
const NAME_MAX: usize = 256;
/// How it is packed.
const XZ: u8 = 1;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Bytes,
    pub(crate) value: Value,
}

impl Field {
    /// Bytes of it that are held.
    pub(super) fn len(&self) -> usize {
        let value = match &self.value {
            Value::Whole(value) | Value::Cut(value) => value.as_slice().len(),
            Value::Packed(_) => 0,
        };
        self.name.as_slice().len().saturating_add(value)
    }
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Whole(Bytes),
    /// Its beginning.
    Cut(Bytes),
    /// Packed in a way that is not undone here.
    Packed(&'static str),
}

/// What the stored bytes say, which are all of them if `whole`.
pub(super) fn field(stored: &[u8], whole: bool, flags: u8) -> Option<Field> {
    match flags & (XZ | LZ4 | ZSTD) {
        0 => plain(stored, whole),
        ZSTD => {
            let limit = u64::try_from(NAME_MAX + VALUE_MAX).ok()?;
            let mut bytes = Vec::new();
            // No window needs more than what is looked at of a field.
            let mut decoder = zstd::Decoder::with_buffer(stored).ok()?;
            decoder.window_log_max(23).ok()?;
            let read = decoder.take(limit + 1).read_to_end(&mut bytes);
            let whole = read.is_ok() && bytes.len() <= NAME_MAX + VALUE_MAX;
            plain(&bytes, whole)
        }
        XZ => Some(packed("xz")),
        LZ4 => Some(packed("lz4")),
        _ => None,
    }
}

fn plain(bytes: &[u8], whole: bool) -> Option<Field> {
    let at = bytes.iter().take(NAME_MAX).position(|&byte| byte == b'=')?;
    let (name, value) = (bytes.get(..at)?, bytes.get(at.checked_add(1)?..)?);
    if name.is_empty() {
        return None;
    }
    let shown = Bytes::from(value.get(..VALUE_MAX).unwrap_or(value));
    let value = if whole && value.len() <= VALUE_MAX { Value::Whole(shown) } else { Value::Cut(shown) };
    Some(Field { name: Bytes::from(name), value })
}

/// Its name is packed, too.
fn packed(by: &'static str) -> Field {
    Field { name: Bytes::default(), value: Value::Packed(by) }
}
