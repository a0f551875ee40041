//! Memory in large pieces; where a piece cannot be read, page by page; where a page cannot, zeros.

use std::io;
use std::ops::Range;

use super::layout::{Hole, PAGE};

/// Holes that are listed; those beyond are counted.
const HOLES_MAX: usize = 10_000;

/// What was to be read and could not.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pub(super) holes: Vec<Hole>,
    pub(super) bytes: u64,
    /// Holes that are not listed.
    pub(super) unlisted: u64,
}

impl Unread {
    pub(super) fn add(&mut self, range: Range<u64>, why: &str) {
        self.bytes = self.bytes.saturating_add(range.end.saturating_sub(range.start));
        let listed = self.holes.len();
        match self.holes.last_mut() {
            Some(last) if last.span.end == range.start && last.why == why => last.span.end = range.end,
            _ if listed < HOLES_MAX => self.holes.push(Hole::new(range, why)),
            _ => self.unlisted = self.unlisted.saturating_add(1),
        }
    }
}

/// The machine's memory, by physical address: fills the whole buffer, or fails.
type ReadAt<'s> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + 's;

/// A way to read it.
#[derive(Clone, Copy)]
pub(super) struct Pages<'s>(&'s ReadAt<'s>);

impl<'s> Pages<'s> {
    pub(super) fn new(read: &'s ReadAt<'s>) -> Self {
        Self(read)
    }

    /// Fills `buffer` from the address `at` on.
    pub(super) fn fill(&self, at: u64, buffer: &mut [u8], unread: &mut Unread) {
        if self.0(at, buffer).is_ok() {
            return;
        }
        let (mut at, mut rest) = (at, buffer);
        while !rest.is_empty() {
            let to_border = usize::try_from(PAGE.saturating_sub(at % PAGE)).unwrap_or(1);
            let (page, later) = rest.split_at_mut(to_border.min(rest.len()));
            let end = at.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
            if let Err(error) = self.0(at, page) {
                page.fill(0);
                unread.add(at..end, &error.to_string());
            }
            (at, rest) = (end, later);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_can_be_read_is_there_and_the_rest_is_zeros_and_told(
            bad in proptest::collection::btree_set(0_u64..16, 0..8), start in 0_u64..0x8000, length in 0_usize..0x8000,
        ) {
            let read = |at: u64, buffer: &mut [u8]| {
                let end = at + u64::try_from(buffer.len()).unwrap();
                buffer.fill(9);
                if bad.iter().any(|page| page * PAGE < end && at < (page + 1) * PAGE) {
                    return Err(io::Error::from_raw_os_error(libc::EFAULT));
                }
                Ok(())
            };
            let (mut buffer, mut unread) = (vec![1; length], Unread::default());
            Pages::new(&read).fill(start, &mut buffer, &mut unread);
            let mut zeros = 0;
            for (byte, at) in buffer.iter().zip(start..) {
                let hidden = bad.contains(&(at / PAGE));
                prop_assert_eq!(*byte, if hidden { 0 } else { 9 });
                prop_assert_eq!(unread.holes.iter().any(|hole| (hole.span.start..hole.span.end).contains(&at)), hidden);
                zeros += u64::from(hidden);
            }
            prop_assert_eq!((unread.bytes, unread.unlisted), (zeros, 0));
        }
    }

    #[test]
    fn holes_beyond_the_list_are_counted() {
        let mut unread = Unread::default();
        for page in 0..20_000 {
            unread.add(page * 2 * PAGE..(page * 2 + 1) * PAGE, "x");
        }
        assert_eq!((unread.holes.len(), unread.unlisted, unread.bytes), (10_000, 10_000, 20_000 * PAGE));
    }
}
