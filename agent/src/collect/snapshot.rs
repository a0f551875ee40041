//! Pages copied while their process stands still, so that it need not wait until they are hashed, compressed and written.
//!
//! Each thread copies into memory and a file of its own: nothing is shared but the number of the next block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::pool::Pool;
use super::segments::Segment;
use super::source::{Source, Unreadable};
use super::spool::Spool;

/// Bytes read at once: more is not faster, and this stays in the processor's cache until it is hashed.
pub(super) const BLOCK: usize = 512 << 10;

/// Pages of one block at most: 4 KiB is the smallest size of a page.
const PAGES: usize = BLOCK / 4096;

/// More reading threads than this gain nothing.
const THREADS_MAX: usize = 4;

/// Neighbouring addresses, at most [`BLOCK`] bytes.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) start: u64,
    pub(super) length: usize,
    pub(super) kept: Kept,
}

/// What a block's bytes are.
#[derive(Debug)]
pub(super) enum Kept {
    /// Zeros: the pages are not there, or hold nothing else.
    Zero,
    /// Not copied: to be read when its turn comes.
    Live,
    /// Copied, without the pages that hold nothing but zeros.
    Copied {
        /// By which thread.
        log: usize,
        place: Place,
        zeros: Option<Box<Zeros>>,
    },
}

/// Where the bytes of a thread's copy begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Memory(usize),
    File(u64),
}

/// One bit a page.
#[derive(Debug, Default)]
pub(super) struct Zeros([u64; PAGES / 64]);

impl Zeros {
    fn set(&mut self, page: usize) {
        if let Some(word) = self.0.get_mut(page / 64) {
            *word |= 1 << (page % 64);
        }
    }

    fn has(&self, page: usize) -> bool {
        self.0.get(page / 64).is_some_and(|word| word & (1 << (page % 64)) != 0)
    }
}

/// How many threads read.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX))
}

/// How many threads share memory for `wanted` bytes, and how much of it each has; together at most `memory`.
pub(super) fn share(wanted: u64, memory: u64) -> (usize, usize) {
    let threads = threads();
    // A block is read whole before it is known how little of it must be kept.
    let wanted = wanted.saturating_add(u64::try_from(threads * BLOCK).unwrap_or(u64::MAX));
    (threads, usize::try_from(wanted.min(memory)).unwrap_or(usize::MAX) / threads)
}

/// The blocks of the segments, in their order.
pub(super) fn blocks(segments: &[Segment]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for piece in segments.iter().flat_map(|segment| &segment.pieces) {
        let mut start = piece.start;
        while start < piece.end {
            let length = usize::try_from(piece.end - start).unwrap_or(BLOCK).min(BLOCK);
            let kept = if piece.zero { Kept::Zero } else { Kept::Live };
            blocks.push(Block { start, length, kept });
            start += u64::try_from(length).unwrap_or(u64::MAX);
        }
    }
    blocks
}

/// Where copies go.
#[derive(Debug, Default)]
pub(super) struct Store {
    logs: Vec<Log>,
    pool: Pool,
}

impl Drop for Store {
    fn drop(&mut self) {
        for log in &mut self.logs {
            self.pool.give_back(std::mem::take(&mut log.memory));
        }
    }
}

/// One thread's part.
#[derive(Debug)]
struct Log {
    memory: Vec<u8>,
    used: usize,
    file: Option<File>,
    written: u64,
    /// Bytes that the file may hold.
    room: u64,
    /// Where a block is read that goes to the file.
    scratch: Vec<u8>,
}

/// What came of the copying.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Bytes of blocks that were copied,
    pub(super) bytes: u64,
    /// and of these, in memory, on disk, and in pages that hold nothing but zeros.
    pub(super) memory: u64,
    pub(super) spooled: u64,
    pub(super) zeros: u64,
    /// In the order of the blocks.
    pub(super) unreadable: Vec<Unreadable>,
}

impl Store {
    /// Room for `wanted` bytes: in memory of the pool as far as `memory` goes, then in the spool.
    pub(super) fn prepare(wanted: u64, memory: u64, pool: &Pool, spool: &Spool) -> Self {
        let (files, room) = spool.open().unwrap_or_default();
        let (threads, each) = share(wanted, memory);
        if each == 0 && room == 0 {
            return Self::default();
        }
        let mut files = files.into_iter();
        let logs = (0..threads).map(|_| {
            let file = files.next();
            let memory = pool.take(each);
            let room = if file.is_some() { room } else { 0 };
            Log { memory, used: 0, file, written: 0, room, scratch: vec![0xff; BLOCK] }
        });
        Self { logs: logs.collect(), pool: pool.clone() }
    }

    /// Whether there is no room at all.
    pub(super) fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Copies the blocks that are to be read, first come first, until all room is used or the time is over.
    pub(super) fn copy(&mut self, blocks: &mut [Block], source: &Source, until: Instant) -> Copied {
        let next = AtomicUsize::new(0);
        let read: &[Block] = blocks;
        let mut done: Vec<Done> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .logs
                .iter_mut()
                .enumerate()
                .map(|(number, log)| {
                    let next = &next;
                    scope.spawn(move || log.run(number, read, next, source, until))
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        done.sort_unstable_by_key(|done| done.block);
        let mut copied = Copied::default();
        for Done { block, kept, stored, unreadable } in done {
            let Some(block) = blocks.get_mut(block) else { continue };
            let length = u64::try_from(block.length).unwrap_or(u64::MAX);
            copied.bytes += length;
            copied.zeros += length.saturating_sub(stored);
            match kept {
                Kept::Copied { place: Place::Memory(_), .. } => copied.memory += stored,
                Kept::Copied { place: Place::File(_), .. } => copied.spooled += stored,
                Kept::Zero | Kept::Live => {}
            }
            block.kept = kept;
            copied.unreadable.extend(unreadable);
        }
        copied
    }

    /// The bytes of a block that was copied, into `out`, which has its length.
    pub(super) fn expand(
        &self,
        log: usize,
        place: Place,
        zeros: Option<&Zeros>,
        page: usize,
        out: &mut [u8],
    ) -> io::Result<()> {
        let log = self.logs.get(log).ok_or(io::ErrorKind::NotFound)?;
        let Some(zeros) = zeros else { return log.get(place, 0, out) };
        let mut from = 0;
        for (number, bytes) in out.chunks_mut(page).enumerate() {
            if zeros.has(number) {
                bytes.fill(0);
            } else {
                log.get(place, from, bytes)?;
                from += bytes.len();
            }
        }
        Ok(())
    }
}

/// One block that was copied.
struct Done {
    block: usize,
    kept: Kept,
    /// Bytes that were kept of it.
    stored: u64,
    unreadable: Vec<Unreadable>,
}

impl Log {
    fn run(
        &mut self,
        number: usize,
        blocks: &[Block],
        next: &AtomicUsize,
        source: &Source,
        until: Instant,
    ) -> Vec<Done> {
        let mut done = Vec::new();
        while Instant::now() < until {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = blocks.get(at) else { break };
            if matches!(block.kept, Kept::Zero) {
                continue;
            }
            // What fails here fails again when the block's turn comes, and is said then.
            let Ok((kept, stored, unreadable)) = self.take(number, block, source) else { break };
            done.push(Done { block: at, kept, stored, unreadable });
        }
        done
    }

    fn take(
        &mut self,
        log: usize,
        block: &Block,
        source: &Source,
    ) -> io::Result<(Kept, u64, Vec<Unreadable>)> {
        let length = block.length;
        let mut unreadable = Vec::new();
        let end = self.used.saturating_add(length);
        let in_memory = end <= self.memory.len();
        let room = u64::try_from(length).unwrap_or(u64::MAX);
        if !in_memory && self.written.saturating_add(room) > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let buffer =
            if in_memory { self.memory.get_mut(self.used..end) } else { self.scratch.get_mut(..length) };
        let buffer = buffer.ok_or(io::ErrorKind::InvalidInput)?;
        source.read(block.start, buffer, &mut unreadable)?;
        let (stored, zeros) = pack(buffer, source.page);
        let bytes = u64::try_from(stored).unwrap_or(u64::MAX);
        if stored == 0 {
            return Ok((Kept::Zero, 0, unreadable));
        }
        let place = if in_memory {
            let place = Place::Memory(self.used);
            self.used += stored;
            place
        } else {
            let place = Place::File(self.written);
            let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
            file.write_all_at(buffer.get(..stored).unwrap_or_default(), self.written)?;
            self.written += bytes;
            place
        };
        Ok((Kept::Copied { log, place, zeros }, bytes, unreadable))
    }

    fn get(&self, place: Place, from: usize, out: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Memory(at) => {
                let start = at.saturating_add(from);
                let bytes = self.memory.get(start..start.saturating_add(out.len()));
                out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Place::File(at) => {
                let at = at.saturating_add(u64::try_from(from).unwrap_or(u64::MAX));
                self.file.as_ref().ok_or(io::ErrorKind::NotFound)?.read_exact_at(out, at)
            }
        }
    }
}

const ZERO_PAGE: [u8; 4096] = [0; 4096];

/// Moves the pages that hold something to the front; how many bytes they are, and which pages hold nothing.
fn pack(buffer: &mut [u8], page: usize) -> (usize, Option<Box<Zeros>>) {
    let mut zeros: Option<Box<Zeros>> = None;
    let (mut stored, mut at) = (0, 0);
    while at < buffer.len() {
        let end = at.saturating_add(page).min(buffer.len());
        let is_zero = buffer.get(at..end).is_some_and(is_zero);
        if is_zero {
            zeros.get_or_insert_default().set(at / page);
        } else {
            if stored < at {
                buffer.copy_within(at..end, stored);
            }
            stored += end - at;
        }
        at = end;
    }
    (stored, zeros)
}

fn is_zero(page: &[u8]) -> bool {
    page.chunks(ZERO_PAGE.len()).all(|part| ZERO_PAGE.get(..part.len()) == Some(part))
}

#[cfg(test)]
#[path = "snapshot_test.rs"]
mod tests;
