//! `/proc/iomem`: what stands at which physical address.

use std::ops::Range;

use crate::text::Bytes;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// First address, and the one after the last.
    pub range: Range<u64>,
    /// What it is: `System RAM`, `Kernel code`, a device, ...
    pub name: Bytes,
}

/// The lines of `text`; what is none is left out. Whoever lacks CAP_SYS_ADMIN is shown zeros for all addresses, which
/// are no ranges: then there is none at all.
pub fn resources(text: &[u8]) -> Vec<Resource> {
    text.split(|&byte| byte == b'\n').filter_map(resource).collect()
}

fn resource(line: &[u8]) -> Option<Resource> {
    let line = std::str::from_utf8(line).ok()?.trim_start_matches(' ');
    let (range, name) = line.split_once(" : ")?;
    let (first, last) = range.split_once('-')?;
    let (start, last) = (hexadecimal(first)?, hexadecimal(last)?);
    // The kernel's ranges include their last byte.
    let end = last.checked_add(1)?;
    (last > start).then(|| Resource { range: start..end, name: Bytes::from(name) })
}

fn hexadecimal(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The machine's memory, in order of addresses and without overlaps: `System RAM`, with what was added to it
/// (`System RAM (kmem)`, `System RAM (virtio_mem)`).
pub fn system_ram(resources: &[Resource]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = resources
        .iter()
        .filter(|resource| resource.name.as_slice().starts_with(b"System RAM"))
        .map(|resource| resource.range.clone())
        .collect();
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n\
        000a0000-000bffff : PCI Bus 0000:00\n00100000-1ffdffff : System RAM\n  0ac00000-0ba02446 : Kernel code\n\
        fed00000-fed003ff : HPET 0\n100000000-17fffffff : System RAM\n180000000-1ffffffff : Persistent Memory\n  \
        180000000-18fffffff : dax0.0\n    180000000-18fffffff : System RAM (kmem)\n";

    #[test]
    fn memory_is_found_at_every_depth_and_merged() {
        let all = resources(TEXT);
        assert_eq!(all.len(), 10);
        let ram = [0x1000..0x9_fc00, 0x10_0000..0x1ffe_0000, 0x1_0000_0000..0x1_9000_0000];
        assert_eq!(system_ram(&all), ram);
        let code = all.iter().find(|one| one.name.as_slice() == b"Kernel code").unwrap();
        assert_eq!(code.range, 0xac0_0000..0xba0_2447);
    }

    #[test]
    fn hidden_addresses_and_broken_lines_are_no_ranges() {
        for line in [
            "00000000-00000000 : System RAM",
            "",
            "-",
            "1000-1fff: System RAM",
            "1000 : System RAM",
            "1fff-1000 : System RAM",
            "0x1000-0x1fff : System RAM",
            "+1000-1fff : System RAM",
            "1000--1fff : System RAM",
            "0-ffffffffffffffff : System RAM",
            "0-10000000000000000 : System RAM",
            "1000-1ff\u{fc} : System RAM",
        ] {
            assert_eq!(resources(line.as_bytes()), [], "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_ordered_ranges_apart_from_each_other(bytes: Vec<u8>) {
            let ram = system_ram(&resources(&bytes));
            prop_assert!(ram.iter().all(|range| range.start < range.end));
        }

        #[test]
        fn whatever_overlaps_is_merged(ranges in proptest::collection::vec((0_u64..1000, 1_u64..50), 0..40)) {
            let lines: Vec<String> =
                ranges.iter().map(|(start, length)| format!("{start:x}-{:x} : System RAM", start + length)).collect();
            let text = lines.join("\n");
            let ram = system_ram(&resources(text.as_bytes()));
            prop_assert!(ram.windows(2).all(|pair| pair[0].end < pair[1].start));
            for address in 0..1100 {
                let meant = ranges.iter().any(|(start, length)| (*start..=start + length).contains(&address));
                prop_assert_eq!(ram.iter().any(|range| range.contains(&address)), meant);
            }
        }
    }
}
