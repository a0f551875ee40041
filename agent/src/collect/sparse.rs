//! Files with holes: a hole is never read, and one that is large is not in the bag either. Then the file's data lie there
//! one after the other, and a list beside them says where each belongs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use nix::unistd::{Whence, lseek};
use serde::Serialize;

/// Extents of one file; what lies behind the last of them is read whole.
const EXTENTS_MAX: usize = 65_536;

/// Holes of so many bytes together are written as the zeros they read as.
pub(super) const HOLES_MAX: u64 = 64 << 20;

/// A part of a file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Where a file of `size` bytes has data. A file system that does not know says: everywhere.
pub(super) fn extents(file: &File, size: u64) -> Vec<Extent> {
    let whole = Extent { offset: 0, length: size };
    let seek = |offset: u64, whence| -> Option<u64> {
        let offset = i64::try_from(offset).ok()?;
        match lseek(file, offset, whence) {
            // No data from here on.
            Err(nix::errno::Errno::ENXIO) => Some(size),
            result => u64::try_from(result.ok()?).ok(),
        }
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        if found.len() + 1 >= EXTENTS_MAX {
            found.push(Extent { offset: at, length: size - at });
            break;
        }
        let Some(offset) = seek(at, Whence::SeekData) else { return vec![whole] };
        let offset = offset.clamp(at, size);
        let Some(end) = seek(offset, Whence::SeekHole) else { return vec![whole] };
        let end = if offset < size { end.clamp(offset + 1, size) } else { size };
        if offset < end {
            found.push(Extent { offset, length: end - offset });
        }
        at = end;
    }
    found
}

/// One stretch of what goes into the bag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Data(Extent),
    Zeros(u64),
}

/// How a file goes into the bag. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pieces: VecDeque<Piece>,
    /// Bytes in the bag.
    pub(super) bytes: u64,
    /// Bytes there would be without a limit.
    pub(super) wanted: u64,
    /// Whether only the data are there, and where each belongs in the file.
    pub(super) packed: Option<Vec<Extent>>,
}

impl Layout {
    /// Of a file of `size` bytes with data at `extents` (in order, without overlap), cut at `limit`.
    pub(super) fn new(size: u64, extents: &[Extent], limit: u64) -> Self {
        let data: u64 = extents.iter().map(|extent| extent.length).sum();
        let pack = size.saturating_sub(data) > HOLES_MAX;
        let mut pieces = VecDeque::new();
        let mut at = 0;
        for extent in extents {
            if !pack && extent.offset > at {
                pieces.push_back(Piece::Zeros(extent.offset - at));
            }
            pieces.push_back(Piece::Data(*extent));
            at = extent.offset.saturating_add(extent.length);
        }
        if !pack && size > at {
            pieces.push_back(Piece::Zeros(size - at));
        }
        let wanted = if pack { data } else { size };
        cut(&mut pieces, limit);
        let data = |piece: &Piece| match piece {
            Piece::Data(extent) => Some(*extent),
            Piece::Zeros(_) => None,
        };
        let packed = pack.then(|| pieces.iter().filter_map(data).collect());
        Self { pieces, bytes: wanted.min(limit), wanted, packed }
    }

    /// The bytes, read from `file`.
    pub(super) fn read(self, file: File) -> Reader {
        Reader { file, pieces: self.pieces }
    }
}

/// Leaves the first `limit` bytes.
fn cut(pieces: &mut VecDeque<Piece>, limit: u64) {
    let mut left = limit;
    for piece in pieces.iter_mut() {
        let length = match piece {
            Piece::Data(extent) => &mut extent.length,
            Piece::Zeros(length) => length,
        };
        *length = left.min(*length);
        left -= *length;
    }
    pieces.retain(|piece| !matches!(piece, Piece::Zeros(0) | Piece::Data(Extent { length: 0, .. })));
}

/// A file's content without reading its holes. It ends early where the file has become shorter.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    pieces: VecDeque<Piece>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.front_mut() else { return Ok(0) };
        let left = match piece {
            Piece::Data(extent) => extent.length,
            Piece::Zeros(length) => *length,
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let room = buffer.get_mut(..most).unwrap_or_default();
        let count = match piece {
            Piece::Data(extent) => self.file.read_at(room, extent.offset)?,
            Piece::Zeros(_) => {
                room.fill(0);
                most
            }
        };
        let read = u64::try_from(count).map_err(io::Error::other)?;
        match piece {
            Piece::Data(extent) => {
                extent.offset += read;
                extent.length -= read;
            }
            Piece::Zeros(length) => *length -= read,
        }
        if read == left {
            self.pieces.pop_front();
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "sparse_test.rs"]
mod tests;
