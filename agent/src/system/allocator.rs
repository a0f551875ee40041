//! The allocator's habits.

#![expect(unsafe_code, reason = "glibc's allocator is told through mallopt only, the kernel through madvise")]

/// Bytes of a large page on most machines.
const LARGE: usize = 2 << 20;

/// An empty buffer of this capacity, in large pages where the kernel has them: with small ones it takes longer to get the
/// memory than to fill it.
pub fn large_pages(capacity: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(capacity);
    let spare = buffer.spare_capacity_mut();
    let before = spare.as_ptr().align_offset(LARGE);
    if let Some(aligned) = spare.get_mut(before..) {
        let length = aligned.len() / LARGE * LARGE;
        // SAFETY: the range is this buffer's own, and the advice changes no byte of it; a refusal changes nothing at all.
        unsafe { libc::madvise(aligned.as_mut_ptr().cast(), length, libc::MADV_HUGEPAGE) };
    }
    buffer
}

/// The recorder's memory is mostly small things that come and go: one arena, and what is free at the end goes back.
pub fn keep_small() {
    // SAFETY: plain numbers, and no other thread runs yet; an option that is refused changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}
