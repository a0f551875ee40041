//! LiME, version 1: a header, and the bytes as they are.

use std::cell::RefCell;
use std::io::{self, Read};
use std::ops::Range;

use super::pages::{Pages, Unread};

const MAGIC: u32 = 0x4c69_4d45;

/// `struct lime_header`: magic, version, first and last address, eight bytes that mean nothing; AVML has the same.
pub(super) fn header(magic: u32, version: u32, range: &Range<u64>) -> Vec<u8> {
    let mut header = [magic.to_le_bytes(), version.to_le_bytes()].concat();
    for field in [range.start, range.end.saturating_sub(1), 0] {
        header.extend(field.to_le_bytes());
    }
    header
}

/// One range: its header, then what is there, read when it is asked for.
pub(super) struct Part<'s> {
    head: io::Cursor<Vec<u8>>,
    left: Range<u64>,
    pages: Pages<'s>,
    unread: &'s RefCell<Unread>,
}

impl<'s> Part<'s> {
    /// Its size, and its bytes; `unread` learns what could not be read, and what nobody asked for.
    pub(super) fn new(range: Range<u64>, pages: Pages<'s>, unread: &'s RefCell<Unread>) -> (u64, Self) {
        let head = header(MAGIC, 1, &range);
        let size = u64::try_from(head.len())
            .unwrap_or(u64::MAX)
            .saturating_add(range.end.saturating_sub(range.start));
        (size, Self { head: io::Cursor::new(head), left: range, pages, unread })
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.head.read(buffer)?;
        if count > 0 {
            return Ok(count);
        }
        let left = usize::try_from(self.left.end.saturating_sub(self.left.start)).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        self.pages.fill(self.left.start, buffer, &mut self.unread.borrow_mut());
        self.left.start = self.left.start.saturating_add(u64::try_from(room).unwrap_or(u64::MAX));
        Ok(room)
    }
}

/// What was not asked for is padding in the bag.
impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.left.is_empty() {
            self.unread.borrow_mut().add(self.left.clone(), "the capture's time was over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages from 0x3000 on, the second of which cannot be read.
    fn memory(at: u64, buffer: &mut [u8]) -> io::Result<()> {
        if at + u64::try_from(buffer.len()).unwrap() > 0x4000 {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        buffer.fill(7);
        Ok(())
    }

    #[test]
    fn a_part_is_byte_for_byte_what_the_format_says() {
        let unread = RefCell::default();
        let (size, mut part) = Part::new(0x3000..0x5000, Pages::new(&memory), &unread);
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).unwrap();
        drop(part);
        assert_eq!(size, 32 + 0x2000);
        let expected = [
            b"EMiL\x01\0\0\0\0\x30\0\0\0\0\0\0\xff\x4f\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            vec![7; 0x1000],
            vec![0; 0x1000],
        ];
        assert!(bytes == expected.concat());
        let unread = unread.into_inner();
        assert_eq!(unread.bytes, 0x1000);
        assert_eq!((unread.holes[0].span.start, unread.holes[0].span.end), (0x4000, 0x5000));
        assert!(unread.holes[0].why.contains("Bad address"), "{unread:?}");
    }

    #[test]
    fn what_nobody_came_for_is_told() {
        let unread = RefCell::default();
        let (_, mut part) = Part::new(0x1000..0x4000, Pages::new(&memory), &unread);
        part.read_exact(&mut [0; 32 + 0x1000]).unwrap();
        drop(part);
        let unread = unread.into_inner();
        assert_eq!((unread.bytes, unread.holes.len()), (0x2000, 1));
        assert!(unread.holes[0].why.contains("time"), "{unread:?}");
    }
}
