//! Columns of numbers: LEB128, packed with zstd.

use crate::event::{BootId, ProcessId};

/// The most plain bytes of one column: far more than a segment's.
const PLAIN_MAX: usize = 64 << 20;

/// A packed column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) plain: u32,
    pub(super) bytes: Vec<u8>,
    /// The boots that process ids in it are of.
    pub(super) boots: Vec<BootId>,
}

impl Packed {
    pub(super) fn pack(column: &[u8], boots: &[BootId]) -> std::io::Result<Self> {
        let plain = u32::try_from(column.len()).map_err(std::io::Error::other)?;
        Ok(Self { plain, bytes: zstd::bulk::compress(column, 9)?, boots: boots.to_vec() })
    }

    /// The column; empty where it is not one of ours.
    pub(super) fn unpack(&self) -> Vec<u8> {
        let plain = usize::try_from(self.plain).unwrap_or(usize::MAX);
        if plain > PLAIN_MAX {
            return Vec::new();
        }
        zstd::bulk::decompress(&self.bytes, plain).unwrap_or_default()
    }
}

/// Appends one number.
pub(super) fn put(column: &mut Vec<u8>, mut number: u64) {
    while let Some(low) = u8::try_from(number & 0x7f).ok().filter(|_| number > 0x7f) {
        column.push(low | 0x80);
        number >>= 7;
    }
    column.push(u8::try_from(number).unwrap_or_default());
}

/// Appends the way from one number to the next.
pub(super) fn put_step(column: &mut Vec<u8>, from: u64, to: u64) {
    let step = to.wrapping_sub(from);
    // Zigzag: small steps in either direction are small numbers.
    let sign = if step >> 63 == 1 { u64::MAX } else { 0 };
    put(column, step.wrapping_shl(1) ^ sign);
}

/// Reads numbers back; ends at the first that is none.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(super) fn step(&mut self, from: u64) -> Option<u64> {
        let zigzag = self.number()?;
        let sign = if zigzag & 1 == 1 { u64::MAX } else { 0 };
        Some(from.wrapping_add((zigzag >> 1) ^ sign))
    }
}

/// Process ids, each by its difference from the one before.
#[derive(Default)]
pub(super) struct Ids {
    boots: Vec<BootId>,
    last: (u64, u64),
}

impl Ids {
    pub(super) fn of(boots: &[BootId]) -> Self {
        Self { boots: boots.to_vec(), last: (0, 0) }
    }

    /// Writes `id`, whose boot must be among the boots.
    pub(super) fn put(&mut self, column: &mut Vec<u8>, id: &ProcessId) {
        let boot = self.boots.iter().position(|boot| *boot == id.boot).unwrap_or_default();
        put(column, u64::try_from(boot).unwrap_or_default());
        put_step(column, self.last.0, u64::from(id.pid));
        put_step(column, self.last.1, id.start);
        self.last = (u64::from(id.pid), id.start);
    }

    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Option<ProcessId> {
        let boot = *self.boots.get(usize::try_from(reader.number()?).ok()?)?;
        let pid = reader.step(self.last.0)?;
        let start = reader.step(self.last.1)?;
        self.last = (pid, start);
        Some(ProcessId { boot, pid: u32::try_from(pid).ok()?, start })
    }
}
