//! Bytes of a BPF map that are in our address space: the kernel writes them, we copy them out.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The beginning of the first value of an array map that was made with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub struct Window {
    start: NonNull<c_void>,
    length: NonZeroUsize,
}

impl Window {
    /// `length` bytes of `map`, which must have as many.
    pub fn open(map: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        #[expect(unsafe_code, reason = "mapping memory")]
        // SAFETY: a new mapping, at a place that the kernel chooses; it refuses more than the map has.
        let start = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { start, length })
    }

    /// Copies its first bytes to `buffer`; those of a `buffer` that is longer stay as they are.
    pub fn copy_to(&self, buffer: &mut [u8]) {
        let count = buffer.len().min(self.length.get());
        #[expect(
            unsafe_code,
            reason = "the kernel's side of the map changes them, so there must be no reference"
        )]
        // SAFETY: `count` bytes are mapped and readable as long as `self` lives, and are not part of `buffer`. Our own
        // program writes them only while we wait for it; whoever else may write to the map spoils values, not memory.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr().cast(), buffer.as_mut_ptr(), count);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "unmapping memory")]
        // SAFETY: the mapping is ours alone, and nothing refers to it any more.
        if let Err(error) = unsafe { munmap(self.start, self.length.get()) } {
            tracing::warn!(%error, "a BPF map cannot be unmapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn bytes_are_copied_out_and_those_written_later_too() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 4096]).unwrap();
        let window = Window::open(file.as_fd(), 4096).unwrap();
        let mut buffer = [0; 4100];
        window.copy_to(&mut buffer);
        assert_eq!((&buffer[..4096], &buffer[4096..]), (&[7; 4096][..], &[0; 4][..]));
        std::os::unix::fs::FileExt::write_all_at(&file, &[8], 1).unwrap();
        window.copy_to(&mut buffer[..2]);
        assert_eq!(buffer[..3], [7, 8, 7]);
        assert!(Window::open(file.as_fd(), 0).is_err());
    }
}
