//! Physical memory by the probe's own reads: where there is no /proc/kcore.
//!
//! The kernel maps all of it in one piece (the direct map, on x86-64 from `page_offset_base` on), and lets a program of
//! ours read there, byte for byte, unless it is locked down to confidentiality.

use std::io;
use std::os::fd::AsFd;

use afterimage_ebpf::RAM_PIECE;
use aya::maps::Map;
use aya::programs::{RawTracePoint, TestRun};
use aya::{Ebpf, EbpfLoader, RawTracePointRunOptions};

use crate::system::bpf;
use crate::system::window::Window;

/// The object that `cargo xtask ebpf` builds from ebpf/src/ram.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/built/ram.o");

/// Why the kernel's memory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the program or its map.
    #[error("loading the program that reads the kernel's memory: {0}")]
    Load(String),
    /// The object does not have what the agent expects: they were not built together.
    #[error("the object that reads the kernel's memory has no {0}: it was not built with this agent")]
    Object(&'static str),
    /// What it reads cannot be had.
    #[error("mapping what the program reads: {0}")]
    Map(io::Error),
}

/// The loaded program, and what it read last.
pub struct Memory {
    ebpf: Ebpf,
    window: Window,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// Loads the program; it is attached to nothing.
    pub fn load() -> Result<Self, Error> {
        bpf::lift_memory_lock_limit();
        let mut ebpf =
            EbpfLoader::new().btf(None).load(OBJECT).map_err(|error| Error::Load(words(&error)))?;
        let program = program_mut(&mut ebpf).ok_or(Error::Object("program"))?;
        program.load().map_err(|error| Error::Load(words(&error)))?;
        let Some(Map::Array(map)) = ebpf.map("PIECE") else { return Err(Error::Object("PIECE")) };
        let window = Window::open(map.fd().as_fd(), RAM_PIECE).map_err(Error::Map)?;
        Ok(Self { ebpf, window })
    }

    /// Fills `buffer` from the kernel's `address` on; after an error what is in it means nothing.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let program: &RawTracePoint = self
            .ebpf
            .program("ram")
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| io::Error::other("the program is gone"))?;
        let mut at = address;
        for piece in buffer.chunks_mut(RAM_PIECE) {
            let length = u64::try_from(piece.len()).map_err(io::Error::other)?;
            let mut options = RawTracePointRunOptions::new();
            let [first, second, ..] = &mut options.args;
            (*first, *second) = (at, length);
            let answer = program.test_run(options).map_err(io::Error::other)?.return_value;
            match answer.cast_signed() {
                0 => self.window.copy_to(piece),
                error => return Err(io::Error::from_raw_os_error(error.saturating_neg())),
            }
            at = at.wrapping_add(length);
        }
        Ok(())
    }
}

fn program_mut(ebpf: &mut Ebpf) -> Option<&mut RawTracePoint> {
    ebpf.program_mut("ram").and_then(|program| program.try_into().ok())
}

/// An error with those it comes from; the verifier's log, whose last words say why, as one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_words = source.to_string();
        if !words.contains(&source_words) {
            words = format!("{words}: {source_words}");
        }
        next = source.source();
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
