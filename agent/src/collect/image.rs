//! A core's bytes as a stream: the head, then the pages in the order of their worth, read from `/proc/PID/mem`.
//!
//! The process is held until all is read or its pause is over, whichever comes first; a read that hangs holds nobody.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::Serialize;

use super::attempts::Miss;
use super::freeze::Stop;
use super::segments::{Hole, Piece, Segment};
use crate::bundle::Outcome;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Ranges that could not be read are listed up to this number, and counted beyond.
const HOLES_MAX: usize = 10_000;

/// What came of the reading.
#[derive(Debug, Default, Serialize)]
pub(super) struct Reading {
    /// For how long threads were held, in microseconds.
    pub(super) frozen_us: u64,
    /// Bytes of pages read.
    pub(super) read: u64,
    /// Of these, after the process had been let go: they may be younger than the registers.
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

    fn unreadable(&mut self, start: u64, end: u64, error: &io::Error) {
        self.unreadable_bytes += end - start;
        let why = error.to_string();
        let full = self.unreadable.len() >= HOLES_MAX;
        match self.unreadable.last_mut() {
            Some(last) if last.end == start && last.why == why => last.end = end,
            _ if full => {}
            _ => self.unreadable.push(Hole { start, end, why }),
        }
    }
}

/// The stream.
pub(super) struct Image<'r> {
    buffer: Vec<u8>,
    /// How much of the buffer was handed on.
    used: usize,
    /// What is still to be read, last piece first.
    pieces: Vec<Piece>,
    mem: File,
    page: u64,
    stop: Option<Stop>,
    reading: &'r RefCell<Reading>,
}

impl<'r> Image<'r> {
    pub(super) fn new(
        head: Vec<u8>,
        segments: &[Segment],
        mem: File,
        page: u64,
        stop: Stop,
        reading: &'r RefCell<Reading>,
    ) -> Self {
        let mut pieces: Vec<Piece> =
            segments.iter().flat_map(|segment| segment.pieces.iter().copied()).collect();
        pieces.reverse();
        Self { buffer: head, used: 0, pieces, mem, page, stop: Some(stop), reading }
    }

    fn release(&mut self) {
        if let Some(mut stop) = self.stop.take() {
            let held = stop.release();
            let time = if stop.len() > 0 { held.time } else { Duration::ZERO };
            let mut reading = self.reading.borrow_mut();
            reading.frozen_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            reading.lingering = held.lingering;
        }
    }

    /// Knows what the holder does by itself.
    fn release_in_time(&mut self) {
        if self.stop.as_ref().is_some_and(|stop| Instant::now() >= stop.until) {
            self.release();
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.used = 0;
        self.buffer.clear();
        let Some(piece) = self.pieces.last_mut() else { return Ok(()) };
        let Piece { start, end, zero } = *piece;
        let length = usize::try_from(end - start).unwrap_or(CHUNK).min(CHUNK);
        let read = u64::try_from(length).map_err(io::Error::other)?;
        piece.start += read;
        if piece.start >= end {
            self.pieces.pop();
        }
        self.buffer.resize(length, 0);
        if !zero {
            self.pages(start)?;
            self.release_in_time();
            let mut reading = self.reading.borrow_mut();
            reading.read += read;
            if self.stop.is_none() {
                reading.read_running += read;
            }
        }
        Ok(())
    }

    /// Fills the buffer with the memory from `start` on; a page the kernel does not give stays zeros.
    fn pages(&mut self, start: u64) -> io::Result<()> {
        let mut at = 0;
        while at < self.buffer.len() {
            let address = start + u64::try_from(at).map_err(io::Error::other)?;
            let rest = self.buffer.get_mut(at..).unwrap_or_default();
            match self.mem.read_at(rest, address) {
                // The address space is gone; an address that is not mapped would be an error.
                Ok(0) => return Err(Errno::ESRCH.into()),
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let next = (address / self.page + 1) * self.page;
                    self.reading.borrow_mut().unreadable(address, next, &error);
                    at += usize::try_from(next - address).map_err(io::Error::other)?;
                }
            }
        }
        Ok(())
    }
}

impl Read for Image<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.release_in_time();
        if self.used >= self.buffer.len() {
            self.fill()?;
            if self.pieces.is_empty() {
                self.release();
            }
        }
        let count = self.buffer.get(self.used..).unwrap_or_default().read(out)?;
        self.used += count;
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
