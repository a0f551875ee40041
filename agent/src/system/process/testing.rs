//! Memory for tests.

/// Private anonymous memory, untouched.
pub(crate) struct Reservation(*mut libc::c_void, usize);

/// Reserves without touching.
pub(crate) fn reserve(length: usize) -> Reservation {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    #[expect(unsafe_code, reason = "mmap")]
    // SAFETY: a new anonymous mapping at an address of the kernel's choice overlaps nothing; huge pages would make
    // the neighbours of a touched page present.
    let start = unsafe {
        let start =
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(start, libc::MAP_FAILED);
        assert_eq!(libc::madvise(start, length, libc::MADV_NOHUGEPAGE), 0);
        start
    };
    Reservation(start, length)
}

impl Reservation {
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        #[expect(unsafe_code, reason = "memory from mmap")]
        // SAFETY: the mapping is readable, writable, ours alone and this long.
        unsafe {
            std::slice::from_raw_parts_mut(self.0.cast(), self.1)
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "munmap")]
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        unsafe {
            libc::munmap(self.0, self.1);
        }
    }
}

/// The beginning of `file`, mapped to be executed.
pub(crate) fn map_executable(file: &std::fs::File) -> Reservation {
    use std::os::fd::AsRawFd;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
    #[expect(unsafe_code, reason = "mmap")]
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, file.as_raw_fd(), 0) };
    assert_ne!(start, libc::MAP_FAILED);
    Reservation(start, 4096)
}
