//! `Range` (RFC 9110 section 14): one range of bytes. Pure.

use std::ops::Range;

/// What part of a representation is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range, or one that may be ignored (several ranges, other units, not understood).
    Whole,
    /// These bytes; never empty.
    Some(Range<u64>),
    /// None of it: 416.
    Nothing,
}

/// Reads the value of a `Range` header for a representation of `size` bytes.
pub(super) fn parse(header: &str, size: u64) -> Part {
    let Some((unit, range)) = header.split_once('=') else { return Part::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    match (number(first), number(last)) {
        // The last `n` bytes.
        (None, Some(n)) if first.is_empty() => some(size.saturating_sub(n)..size),
        (Some(start), None) if last.is_empty() => some(start..size),
        (Some(start), Some(last)) if start <= last => some(start..last.saturating_add(1).min(size)),
        _ => Part::Whole,
    }
}

fn some(range: Range<u64>) -> Part {
    if range.is_empty() { Part::Nothing } else { Part::Some(range) }
}

/// Decimal digits; more than fit mean "further than any file".
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges() {
        for (header, expected) in [
            ("bytes=0-0", Part::Some(0..1)),
            ("bytes=0-", Part::Some(0..10)),
            ("bytes=9-", Part::Some(9..10)),
            ("bytes=2-5", Part::Some(2..6)),
            ("bytes=2-99", Part::Some(2..10)),
            ("Bytes = 2-5", Part::Some(2..6)),
            ("bytes=-3", Part::Some(7..10)),
            ("bytes=-99", Part::Some(0..10)),
            ("bytes=0-99999999999999999999999", Part::Some(0..10)),
            ("bytes=10-", Part::Nothing),
            ("bytes=10-20", Part::Nothing),
            ("bytes=99999999999999999999999-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=5-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=--1", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(parse(header, 10), expected, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Part::Nothing);
        assert_eq!(parse("bytes=-5", 0), Part::Nothing);
    }

    proptest! {
        #[test]
        fn a_range_is_never_empty_and_never_beyond_the_end(header in "(bytes=)?[0-9-, ]{0,40}", size: u64) {
            if let Part::Some(range) = parse(&header, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
