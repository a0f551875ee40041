//! Which parts of the machine's memory are taken, and which cannot be. Pure.

use std::ops::Range;

use serde::Serialize;

use super::super::segments::hexadecimal;

/// The kernel's page on every machine whose image we take.
pub(super) const PAGE: u64 = 4096;

/// Physical addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    #[serde(serialize_with = "hexadecimal")]
    pub(super) start: u64,
    /// The one after the last.
    #[serde(serialize_with = "hexadecimal")]
    pub(super) end: u64,
}

impl From<Range<u64>> for Span {
    fn from(range: Range<u64>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// Addresses that are not in the image as they are in memory, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hole {
    #[serde(flatten)]
    pub(super) span: Span,
    pub(super) why: String,
}

impl Hole {
    pub(super) fn new(range: Range<u64>, why: impl Into<String>) -> Self {
        Self { span: range.into(), why: why.into() }
    }
}

/// What is taken, in order of addresses, and what is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) parts: Vec<Range<u64>>,
    pub(super) holes: Vec<Hole>,
}

/// Whole pages of the memory `ram` that are `readable` (without it, all), in parts of at most `most` bytes that end at its
/// multiples, until `budget` is used up.
pub(super) fn layout(ram: &[Range<u64>], readable: Option<&[Range<u64>]>, most: u64, budget: u64) -> Layout {
    let mut layout = Layout::default();
    let mut left = budget / PAGE * PAGE;
    for range in ram {
        let pages = range.start.next_multiple_of(PAGE)..range.end / PAGE * PAGE;
        if pages.is_empty() {
            layout.miss(range.clone(), "less than a page");
            continue;
        }
        layout.miss(range.start..pages.start, "less than a page");
        let mut at = pages.start;
        for there in readable.unwrap_or(std::slice::from_ref(&(0..u64::MAX))) {
            let start = there.start.next_multiple_of(PAGE).max(at);
            let end = (there.end / PAGE * PAGE).min(pages.end);
            if start < end {
                layout.miss(at..start, "not in /proc/kcore");
                left = layout.take(start..end, most, left);
                at = end;
            }
        }
        layout.miss(at..pages.end, "not in /proc/kcore");
        layout.miss(pages.end..range.end, "less than a page");
    }
    if left == 0 {
        let over = format!("over the budget of {budget} bytes (capture.ram_bytes)");
        layout
            .holes
            .iter_mut()
            .filter(|hole| hole.why.is_empty())
            .for_each(|hole| hole.why.clone_from(&over));
    }
    layout
}

impl Layout {
    fn miss(&mut self, range: Range<u64>, why: &str) {
        if !range.is_empty() {
            self.holes.push(Hole::new(range, why));
        }
    }

    /// Cuts `range` into parts, as far as `left` goes; what is left then.
    fn take(&mut self, range: Range<u64>, most: u64, mut left: u64) -> u64 {
        let mut at = range.start;
        while at < range.end && left > 0 {
            let border = (at / most).saturating_add(1).saturating_mul(most);
            let end = border.min(range.end).min(at.saturating_add(left));
            self.parts.push(at..end);
            left = left.saturating_sub(end.saturating_sub(at));
            at = end;
        }
        // The reason is the same for all, and filled in at the end.
        self.miss(at..range.end, "");
        left
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: u64 = 1 << 40;

    #[test]
    fn whole_pages_are_taken_in_parts_that_end_at_multiples() {
        let ram = [0x1000..0x9_fc00, 0x10_0000..0x35_0000];
        let Layout { parts, holes } = layout(&ram, None, 0x10_0000, ALL);
        assert_eq!(
            parts,
            [0x1000..0x9_f000, 0x10_0000..0x20_0000, 0x20_0000..0x30_0000, 0x30_0000..0x35_0000]
        );
        assert_eq!(holes, [Hole::new(0x9_f000..0x9_fc00, "less than a page")]);
    }

    #[test]
    fn what_kcore_does_not_have_is_a_hole() {
        let readable = [0x2000..0x3000, 0x4000..0x5800, 0x9000..0xa000];
        let Layout { parts, holes } =
            layout(std::slice::from_ref(&(0x1000..0x8000)), Some(&readable), ALL, ALL);
        assert_eq!(parts, [0x2000..0x3000, 0x4000..0x5000]);
        let spans: Vec<_> =
            holes.iter().map(|hole| (hole.span.start, hole.span.end, hole.why.as_str())).collect();
        let why = "not in /proc/kcore";
        assert_eq!(spans, [(0x1000, 0x2000, why), (0x3000, 0x4000, why), (0x5000, 0x8000, why)]);
        assert_eq!(layout(std::slice::from_ref(&(0x1000..0x2000)), Some(&[]), ALL, ALL).holes.len(), 1);
    }

    #[test]
    fn the_budget_ends_it_and_says_so() {
        let ram = [0x1000..0x4000, 0x8000..0x9000];
        let Layout { parts, holes } = layout(&ram, None, ALL, 0x2fff);
        assert_eq!(parts, vec![Range { start: 0x1000, end: 0x3000 }]);
        assert_eq!(holes.len(), 2);
        assert!(holes.iter().all(|hole| hole.why.contains("12287 bytes")), "{holes:?}");
        assert!(layout(&ram, None, ALL, 0).parts.is_empty());
    }

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::btree_set(0_u64..0x4_0000, 0..20).prop_map(|borders| {
            let borders: Vec<u64> = borders.into_iter().collect();
            borders.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
        })
    }

    proptest! {
        #[test]
        fn every_byte_of_memory_is_either_in_one_part_or_in_one_hole(
            ram in ranges(), readable in ranges(), most in 1_u64..20, budget in 0_u64..0x5_0000,
        ) {
            let Layout { parts, holes } = layout(&ram, Some(&readable), most * PAGE, budget);
            let mut all: Vec<_> = parts.iter().cloned().chain(holes.iter().map(|hole| hole.span.start..hole.span.end)).collect();
            all.sort_by_key(|range| range.start);
            prop_assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let sum = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
            prop_assert_eq!(sum(&all), sum(&ram));
            prop_assert!(sum(&parts) <= budget && holes.iter().all(|hole| !hole.why.is_empty()));
            for part in &parts {
                prop_assert!(part.start < part.end && part.end - part.start <= most * PAGE);
                prop_assert!(part.start % PAGE == 0 && part.end % PAGE == 0);
                prop_assert!(readable.iter().any(|there| there.start <= part.start && part.end <= there.end));
            }
        }
    }
}
