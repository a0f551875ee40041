//! A core's bytes as a stream: the head, then the pages in the order of their worth.
//!
//! What was copied while the process stood still comes from the copy; the rest is read from the process when its turn comes. Where
//! nothing could be copied the process is held meanwhile, until its pause is over; a read that hangs holds nobody.

use std::cell::RefCell;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::attempts::Miss;
use super::freeze::Stop;
use super::segments::Hole;
use super::snapshot::{Block, Copied, Kept, Store};
use super::source::{Source, Unreadable};
use crate::bundle::Outcome;

/// Ranges that could not be read are listed up to this number, and counted beyond.
const HOLES_MAX: usize = 10_000;

/// What came of the reading.
#[derive(Debug, Default, Serialize)]
pub(super) struct Reading {
    /// For how long threads were held, in microseconds.
    pub(super) frozen_us: u64,
    /// Bytes of pages read.
    pub(super) read: u64,
    /// Of these, copied while the process was held, into memory and onto the disk; pages of zeros need no room.
    pub(super) copied_memory: u64,
    pub(super) copied_disk: u64,
    /// Bytes of pages that held nothing but zeros, among what was copied.
    pub(super) zeros: u64,
    /// Bytes read after the process had been let go: they may be younger than the registers.
    pub(super) read_running: u64,
    /// Ranges the kernel did not give, which are zeros in the core.
    pub(super) unreadable: Vec<Hole>,
    /// Bytes of these.
    pub(super) unreadable_bytes: u64,
    /// Threads that had not stopped when the others were let go.
    pub(super) lingering: Vec<u32>,
}

impl Reading {
    /// For how long the process was held, and what is missing.
    pub(super) fn judge(&self) -> Miss {
        let late = match self.read_running {
            0 => String::new(),
            bytes => format!("; {bytes} bytes were read after that, while it ran"),
        };
        let said = match self.frozen_us {
            0 => "not held while it was read".to_owned(),
            micros => format!("held for {micros} us{late}"),
        };
        let Some(hole) = self.unreadable.first() else { return Miss::new(Outcome::Ok, said) };
        let bytes = self.unreadable_bytes;
        Miss::partial(format!("{said}; {bytes} bytes are zeros, such as {:#x}: {}", hole.start, hole.why))
    }

    /// Lets the process go, and notes how long it was held.
    pub(super) fn release(&mut self, mut stop: Stop) {
        let held = stop.release();
        let time = if stop.len() > 0 { held.time } else { Duration::ZERO };
        self.frozen_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.lingering = held.lingering;
    }

    /// What was copied while it was held.
    pub(super) fn copied(&mut self, copied: Copied) {
        self.read += copied.bytes;
        self.copied_memory += copied.memory;
        self.copied_disk += copied.spooled;
        self.zeros += copied.zeros;
        self.unreadable(copied.unreadable);
    }

    fn unreadable(&mut self, ranges: Vec<Unreadable>) {
        for Unreadable { start, end, why } in ranges {
            self.unreadable_bytes += end - start;
            let why = why.to_string();
            let full = self.unreadable.len() >= HOLES_MAX;
            match self.unreadable.last_mut() {
                Some(last) if last.end == start && last.why == why => last.end = end,
                _ if full => {}
                _ => self.unreadable.push(Hole { start, end, why }),
            }
        }
    }
}

/// The stream.
pub(super) struct Image<'r> {
    buffer: Vec<u8>,
    /// How much of the buffer was handed on.
    used: usize,
    blocks: std::vec::IntoIter<Block>,
    store: Store,
    source: Source,
    stop: Option<Stop>,
    reading: &'r RefCell<Reading>,
}

impl<'r> Image<'r> {
    /// With a `stop`, the process is held until all is read.
    pub(super) fn new(
        head: Vec<u8>,
        blocks: Vec<Block>,
        store: Store,
        source: Source,
        stop: Option<Stop>,
        reading: &'r RefCell<Reading>,
    ) -> Self {
        Self { buffer: head, used: 0, blocks: blocks.into_iter(), store, source, stop, reading }
    }

    fn release(&mut self) {
        if let Some(stop) = self.stop.take() {
            self.reading.borrow_mut().release(stop);
        }
    }

    /// Knows what the holder does by itself.
    fn release_in_time(&mut self) {
        if self.stop.as_ref().is_some_and(|stop| Instant::now() >= stop.until) {
            self.release();
        }
    }

    /// The bytes of a block, into `out`, which has its length.
    fn fill(&mut self, block: &Block, out: &mut [u8]) -> io::Result<()> {
        match &block.kept {
            Kept::Zero => out.fill(0),
            Kept::Copied { log, place, zeros } => {
                self.store.expand(*log, *place, zeros.as_deref(), self.source.page, out)?;
            }
            Kept::Live => {
                let mut unreadable = Vec::new();
                self.source.read(block.start, out, &mut unreadable)?;
                self.release_in_time();
                let mut reading = self.reading.borrow_mut();
                let read = u64::try_from(block.length).map_err(io::Error::other)?;
                reading.unreadable(unreadable);
                reading.read += read;
                if self.stop.is_none() {
                    reading.read_running += read;
                }
            }
        }
        Ok(())
    }

    /// The next block, straight into `out` where it has room; how many bytes.
    fn next_block(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(block) = self.blocks.next() else { return Ok(0) };
        if let Some(out) = out.get_mut(..block.length) {
            self.fill(&block, out)?;
            return Ok(block.length);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(block.length, 0);
        self.used = 0;
        self.fill(&block, &mut buffer)?;
        self.buffer = buffer;
        self.buffered(out)
    }

    fn buffered(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.buffer.get(self.used..).unwrap_or_default().read(out)?;
        self.used += count;
        Ok(count)
    }
}

impl Read for Image<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.release_in_time();
        if self.used < self.buffer.len() {
            return self.buffered(out);
        }
        let count = self.next_block(out)?;
        if self.blocks.as_slice().is_empty() {
            self.release();
        }
        Ok(count)
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;
