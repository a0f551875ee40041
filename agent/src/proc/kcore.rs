//! The head of `/proc/kcore`, an ELF core: which of its bytes are which physical memory.

/// Of the kernel's own head, at most: it has a program header for each piece of memory, 56 bytes long.
pub const HEAD_MAX: u64 = 4 << 20;

const HEADER: usize = 64;
const PROGRAM: usize = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// What the head says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kcore {
    /// Pieces of the kernel's memory, in the order of the file.
    pub loads: Vec<Load>,
    /// Where the notes are: offset and size.
    pub notes: Option<(u64, u64)>,
}

/// A piece of the kernel's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Where its bytes are in the file.
    pub offset: u64,
    /// The kernel's address of it.
    pub address: u64,
    /// Its physical address; `None` of what is not mapped in one piece.
    pub physical: Option<u64>,
    /// How long it is.
    pub size: u64,
}

/// Why it is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends before its headers do.
    #[error("it ends within its headers")]
    Short,
    /// Not a core of this kind of machine.
    #[error("it is not a 64-bit little-endian ELF core")]
    Kind,
}

impl Kcore {
    /// Reads the beginning of the file, with its program headers.
    pub fn parse(head: &[u8]) -> Result<Self, Error> {
        let header = head.get(..HEADER).ok_or(Error::Short)?;
        // Class 64, little-endian, version 1; ET_CORE.
        if !header.starts_with(b"\x7fELF\x02\x01\x01") || number(header, 16, 2) != Some(4) {
            return Err(Error::Kind);
        }
        let field = |at, size| number(header, at, size).ok_or(Error::Short);
        let (first, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
        if size != u64::try_from(PROGRAM).unwrap_or(0) {
            return Err(Error::Kind);
        }
        let mut kcore = Self::default();
        for index in 0..count {
            let at = first.checked_add(index.saturating_mul(size)).ok_or(Error::Short)?;
            let at = usize::try_from(at).map_err(|_| Error::Short)?;
            let end = at.checked_add(PROGRAM).ok_or(Error::Short)?;
            kcore.add(head.get(at..end).ok_or(Error::Short)?).ok_or(Error::Short)?;
        }
        Ok(kcore)
    }

    fn add(&mut self, program: &[u8]) -> Option<()> {
        let kind = number(program, 0, 4)?;
        let (offset, address) = (number(program, 8, 8)?, number(program, 16, 8)?);
        let (physical, size) = (number(program, 24, 8)?, number(program, 32, 8)?);
        if kind == u64::from(PT_NOTE) {
            self.notes = Some((offset, size));
        }
        let ends = offset.checked_add(size).and_then(|_| address.checked_add(size)).is_some();
        if kind == u64::from(PT_LOAD) && size > 0 && ends {
            // What the kernel does not map in one piece has all ones; what ends beyond them is none either.
            let physical = Some(physical).filter(|physical| physical.checked_add(size).is_some());
            self.loads.push(Load { offset, address, physical, size });
        }
        Some(())
    }
}

/// The text of the note `VMCOREINFO` among `notes`.
pub fn vmcoreinfo(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (name, content) = (number(notes, 0, 4)?, number(notes, 4, 4)?);
        let (name, content) = (usize::try_from(name).ok()?, usize::try_from(content).ok()?);
        notes = notes.get(12..)?;
        let (title, rest) = notes.split_at_checked(name)?;
        let rest = rest.get(padding(name)..)?;
        let (text, rest) = rest.split_at_checked(content)?;
        if title == b"VMCOREINFO\0" {
            return Some(text);
        }
        notes = rest.get(padding(content)..)?;
    }
}

/// What is missing of `size` up to a multiple of 4.
fn padding(size: usize) -> usize {
    size.wrapping_neg() & 3
}

/// The little-endian number of `size` bytes (8 at most) at `at`.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..size)?.copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    Some(u64::from_le_bytes(wide))
}

#[cfg(test)]
#[path = "kcore_test.rs"]
mod tests;
