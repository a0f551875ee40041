//! The allocator's habits.

#![expect(unsafe_code, reason = "glibc's allocator is told through mallopt only")]

/// The recorder's memory is mostly small things that come and go: one arena, and what is free at the end goes back.
pub fn keep_small() {
    // SAFETY: plain numbers, and no other thread runs yet; an option that is refused changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}
