//! Which pages of a process are really there: reading any other would make the target grow.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Neighbouring pages of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRun {
    /// First address.
    pub(crate) start: u64,
    /// The address after the last.
    pub(crate) end: u64,
    /// Whether the page is the file's own (or shared memory's): false in a private mapping means it was modified.
    pub(crate) file: bool,
}

/// One answer of the kernel holds at most this many runs.
const REGIONS: usize = 4096;

/// Entries of `pagemap` read at once.
const ENTRIES: usize = 16 << 10;

// include/uapi/linux/fs.h, since 6.7.
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

mod ioctl {

    nix::ioctl_readwrite!(pagemap_scan, b'f', 16, super::Scan);
}

/// The runs of present or swapped pages between `start` and `end`, at most about `most`; the zero page is left out.
/// `pagemap` is an open `/proc/PID/pagemap`.
pub(crate) fn present(
    pagemap: &File,
    page: u64,
    start: u64,
    end: u64,
    most: usize,
) -> io::Result<Vec<PageRun>> {
    match scan(pagemap, start, end, most) {
        // ENOTTY: the kernel is older than 6.7.
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => entries(pagemap, page, start, end, most),
        result => result,
    }
}

fn scan(pagemap: &File, start: u64, end: u64, most: usize) -> io::Result<Vec<PageRun>> {
    let mut regions = vec![Region::default(); REGIONS];
    let mut runs = Vec::new();
    let mut at = start;
    while at < end && runs.len() < most {
        let mut scan = Scan {
            size: u64::try_from(size_of::<Scan>()).map_err(io::Error::other)?,
            start: at,
            end,
            vec: u64::try_from(regions.as_mut_ptr().expose_provenance()).map_err(io::Error::other)?,
            vec_len: u64::try_from(regions.len()).map_err(io::Error::other)?,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO,
            ..Scan::default()
        };
        #[expect(unsafe_code, reason = "an ioctl that nix does not name")]
        // SAFETY: `scan` is the structure the ioctl expects, with its size; the kernel writes at most `vec_len` regions
        // to `regions`, which outlives the call.
        let found = unsafe { ioctl::pagemap_scan(pagemap.as_raw_fd(), &raw mut scan) }?;
        let found = usize::try_from(found).unwrap_or_default();
        for region in regions.iter().take(found).filter(|region| region.categories & PAGE_IS_PFNZERO == 0) {
            push(&mut runs, region.start, region.end, region.categories & PAGE_IS_FILE != 0);
        }
        if scan.walk_end <= at {
            break;
        }
        at = scan.walk_end;
    }
    Ok(runs)
}

// Documentation/admin-guide/mm/pagemap.rst.
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_FILE: u64 = 1 << 61;

fn entries(pagemap: &File, page: u64, start: u64, end: u64, most: usize) -> io::Result<Vec<PageRun>> {
    let mut buffer = vec![0; ENTRIES * 8];
    let mut runs = Vec::new();
    let mut at = start;
    while at < end && runs.len() < most {
        let left = usize::try_from((end - at).div_ceil(page)).unwrap_or(ENTRIES).min(ENTRIES);
        let want = buffer.get_mut(..left * 8).unwrap_or_default();
        let read = pagemap.read_at(want, at / page * 8)?;
        if read < 8 {
            break;
        }
        let (entries, _) = want.get(..read).unwrap_or_default().as_chunks::<8>();
        for entry in entries {
            let entry = u64::from_ne_bytes(*entry);
            if entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 {
                push(&mut runs, at, at + page, entry & ENTRY_FILE != 0);
            }
            at += page;
        }
    }
    Ok(runs)
}

fn push(runs: &mut Vec<PageRun>, start: u64, end: u64, file: bool) {
    match runs.last_mut() {
        Some(last) if last.end == start && last.file == file => last.end = end,
        _ => runs.push(PageRun { start, end, file }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways must see the touched pages of a large reservation, and only them.
    #[test]
    fn only_touched_pages_of_a_reservation_are_present() {
        let page = 4096_u64;
        let mut map = super::super::testing::reserve(1 << 30);
        for touched in [0, 5, 6, 1000] {
            map.as_mut_slice()[touched * 4096] = 1;
        }
        let start = map.as_mut_slice().as_ptr().expose_provenance();
        let start = u64::try_from(start).unwrap();
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let old = entries(&pagemap, page, start, start + (1 << 30), 1 << 20).unwrap();
        let pages: u64 = old.iter().map(|run| (run.end - run.start) / page).sum();
        assert_eq!(pages, 4, "{old:?}");
        assert_eq!(old[1], PageRun { start: start + 5 * page, end: start + 7 * page, file: false });
        assert_eq!(present(&pagemap, page, start, start + (1 << 30), 1 << 20).unwrap(), old);
    }
}
