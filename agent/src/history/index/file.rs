//! An index as a file, and out of one: whatever is in it, reading ends with an index or an error.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::column::{Ids, Packed, Reader, put, put_step};
use super::{Birth, Frame, Index, Span, Term};
use crate::event::{BootId, ProcessId};
use crate::history::segment::Segment;

const MAGIC: [u8; 8] = *b"afterix\x01";
const CHECK: usize = 8;
/// No index is larger: those of full segments are some 200 KiB.
const FILE_MAX: u64 = 64 << 20;

/// Why an index is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written; most often there is none yet.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("it is damaged, or of another version")]
    Damaged,
    /// It belongs to another segment.
    #[error("it is not this segment's")]
    Other,
}

/// The index of `segment`, if it has one that is to be believed.
pub fn open(segment: &Segment) -> Result<Index, Error> {
    let mut bytes = Vec::new();
    File::open(segment.index_path())?.take(FILE_MAX).read_to_end(&mut bytes)?;
    let index = decode(&bytes).ok_or(Error::Damaged)?;
    let file = File::open(&segment.path)?;
    let length = file.metadata()?.len();
    let fits = |frame: &Frame| {
        let mut check = [0; 4];
        let end = frame.offset.checked_add(u64::from(frame.bytes)).and_then(|end| end.checked_sub(4));
        end.is_some_and(|end| file.read_exact_at(&mut check, end).is_ok())
            && u32::from_le_bytes(check) == frame.check
    };
    if length != index.segment_bytes || !index.frames.iter().all(fits) {
        return Err(Error::Other);
    }
    Ok(index)
}

/// Writes `index` to the new file `path`, down to the disk.
pub fn write(path: &Path, index: &Index) -> Result<(), Error> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&encode(index)?)?;
    Ok(file.sync_data()?)
}

/// `index` as bytes.
pub(super) fn encode(index: &Index) -> io::Result<Vec<u8>> {
    let boots = &index.births.boots;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(index.segment_bytes.to_le_bytes());
    let frames = Packed::pack(&frames_column(&index.frames, index.span), &[])?;
    let parents = Packed::pack(&parents_column(&index.parents, boots), &[])?;
    for section in [&frames, &parents, &index.births, &index.guests, &index.terms] {
        bytes.extend(u32::try_from(section.bytes.len()).map_err(io::Error::other)?.to_le_bytes());
        bytes.extend(section.plain.to_le_bytes());
        bytes.extend_from_slice(&section.bytes);
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest.iter().take(CHECK));
    Ok(bytes)
}

/// The index that `bytes` are; `None` when they are none, or changed.
pub(super) fn decode(bytes: &[u8]) -> Option<Index> {
    let (content, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK)?)?;
    if Sha256::digest(content).get(..CHECK)? != check {
        return None;
    }
    let (magic, rest) = content.split_first_chunk::<8>()?;
    let (length, mut rest) = rest.split_first_chunk::<8>()?;
    if *magic != MAGIC {
        return None;
    }
    let mut section = || {
        let (packed, after) = rest.split_first_chunk::<4>()?;
        let (plain, after) = after.split_first_chunk::<4>()?;
        let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*packed)).ok()?)?;
        rest = after;
        Some(Packed { plain: u32::from_le_bytes(*plain), bytes: bytes.to_vec(), boots: Vec::new() })
    };
    let (frames, parents) = (section()?, section()?);
    let (mut births, mut guests, terms) = (section()?, section()?, section()?);
    let (parents, boots) = read_parents(&parents.unpack())?;
    births.boots.clone_from(&boots);
    guests.boots = boots;
    let segment_bytes = u64::from_le_bytes(*length);
    let (frames, span) = read_frames(&frames.unpack())?;
    Some(Index { frames, segment_bytes, span, parents, births, guests, terms })
}

fn frames_column(frames: &[Frame], span: Span) -> Vec<u8> {
    let nanos = |time: Timestamp| u64::try_from(time.as_nanosecond().max(0)).unwrap_or(u64::MAX);
    let mut column = Vec::new();
    for number in [u64::from(span.pids.0), u64::from(span.pids.1), span.starts.0, span.starts.1] {
        put(&mut column, number);
    }
    put(&mut column, u64::try_from(frames.len()).unwrap_or_default());
    let mut time = 0;
    for frame in frames {
        put(&mut column, u64::from(frame.bytes));
        put(&mut column, u64::from(frame.check));
        put(&mut column, u64::from(frame.events));
        put_step(&mut column, time, nanos(frame.first));
        put_step(&mut column, nanos(frame.first), nanos(frame.last));
        time = nanos(frame.last);
    }
    column
}

fn read_frames(column: &[u8]) -> Option<(Vec<Frame>, Span)> {
    let mut reader = Reader(column);
    let pids = (reader.small()?, reader.small()?);
    let span = Span { pids, starts: (reader.number()?, reader.number()?) };
    let count = reader.small()?;
    let (mut frames, mut offset, mut nanos) = (Vec::new(), 0_u64, 0);
    for _ in 0..count {
        let (bytes, check, events) = (reader.small()?, reader.small()?, reader.small()?);
        let first = reader.step(nanos)?;
        nanos = reader.step(first)?;
        let time = |nanos: u64| Timestamp::from_nanosecond(i128::from(nanos)).ok();
        frames.push(Frame { offset, bytes, check, events, first: time(first)?, last: time(nanos)? });
        offset = offset.checked_add(u64::from(bytes))?;
    }
    Some((frames, span))
}

fn parents_column(parents: &[ProcessId], boots: &[BootId]) -> Vec<u8> {
    let mut column = Vec::new();
    put(&mut column, u64::try_from(boots.len()).unwrap_or_default());
    for boot in boots {
        column.extend(boot.0);
    }
    put(&mut column, u64::try_from(parents.len()).unwrap_or_default());
    let mut ids = Ids::of(boots);
    for parent in parents {
        ids.put(&mut column, parent);
    }
    column
}

fn read_parents(column: &[u8]) -> Option<(Vec<ProcessId>, Vec<BootId>)> {
    let mut reader = Reader(column);
    let mut boots = Vec::new();
    for _ in 0..reader.small()? {
        let (boot, rest) = reader.0.split_first_chunk::<16>()?;
        boots.push(BootId(*boot));
        reader.0 = rest;
    }
    let count = reader.small()?;
    let mut ids = Ids::of(&boots);
    let parents = (0..count).map(|_| ids.read(&mut reader)).collect::<Option<Vec<_>>>()?;
    Some((parents, boots))
}

/// Births as far as they make sense.
pub(super) fn births(packed: &Packed, parents: usize, frames: usize) -> Vec<Birth> {
    let column = packed.unpack();
    let mut reader = Reader(&column);
    let mut part = || {
        let length = usize::try_from(reader.number()?).ok()?;
        let (part, rest) = reader.0.split_at_checked(length)?;
        reader.0 = rest;
        Some(Reader(part))
    };
    let (Some(mut numbers), Some(mut places), Some(mut list)) = (part(), part(), part()) else {
        return Vec::new();
    };
    let mut ids = Ids::of(&packed.boots);
    let (mut frame, mut place) = (0, 0);
    let mut next = || {
        frame = numbers.step(frame)?;
        place = places.step(place)?;
        let id = ids.read(&mut list)?;
        let parent = place.checked_sub(1).and_then(|place| u32::try_from(place).ok());
        let parent = parent.filter(|place| usize::try_from(*place).is_ok_and(|place| place < parents));
        let frame =
            u32::try_from(frame).ok().filter(|at| usize::try_from(*at).is_ok_and(|at| at < frames))?;
        Some(Birth { id, parent, frame })
    };
    std::iter::from_fn(&mut next).collect()
}

pub(super) fn guests(packed: &Packed, frames: usize) -> Vec<(u32, ProcessId)> {
    let column = packed.unpack();
    let mut reader = Reader(&column);
    let mut guests = Vec::new();
    for frame in (0_u32..).take(frames) {
        let mut ids = Ids::of(&packed.boots);
        for _ in 0..reader.number().unwrap_or_default() {
            let Some(id) = ids.read(&mut reader) else { return guests };
            guests.push((frame, id));
        }
    }
    guests
}

pub(super) fn with(packed: &Packed, wanted: &[Term], frames: usize) -> Vec<Vec<u32>> {
    let column = packed.unpack();
    let mut reader = Reader(&column);
    let mut found = vec![Vec::new(); wanted.len()];
    for frame in (0_u32..).take(frames) {
        let mut last = 0_u32;
        for _ in 0..reader.number().unwrap_or_default() {
            let Some(step) = reader.small() else { return found };
            last = last.wrapping_add(step);
            for (place, _) in found.iter_mut().zip(wanted).filter(|(_, term)| term.0 == last) {
                place.push(frame);
            }
        }
    }
    found
}
