//! The file of a bundle in the making, and what of it the kernel keeps in its cache.
//!
//! Large frames go past the cache, where the file system allows that: the disk takes them at once, nothing is left to be
//! waited for at the end, and the host's own files stay in its memory. What does not fill a block goes the ordinary way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// What is dropped from the kernel's cache is so much at a time.
const DROPPED: u64 = 8 << 20;
/// The disk is told to begin this often, so that little is left to be waited for at the end.
const WRITE_BACK: u64 = 16 << 20;
/// Smaller frames are written sooner through the cache than past it.
const DIRECT_MIN: usize = 256 << 10;
/// No device wants a coarser place, length or address (open(2), `O_DIRECT`); one that does refuses, and gets the ordinary way.
const BLOCK: usize = 4096;

/// The file, written from its beginning to its end.
pub(super) struct Disk {
    file: File,
    past: Option<Past>,
    /// Bytes that were written.
    at: u64,
    /// As far as this it is not in the kernel's cache.
    dropped: u64,
    drop_behind: Arc<AtomicBool>,
    /// Up to here the disk was told to begin.
    told: u64,
}

/// The way past the cache.
struct Past {
    file: File,
    /// Begins somewhere in a block; what is written is copied to where one begins.
    buffer: Vec<u8>,
}

impl Disk {
    /// An empty file; `past` is the same one, opened with `O_DIRECT`.
    pub(super) fn new(file: File, past: Option<File>, drop_behind: Arc<AtomicBool>) -> Self {
        let past = past.map(|file| Past { file, buffer: Vec::new() });
        Self { file, past, at: 0, dropped: 0, drop_behind, told: 0 }
    }

    /// Bytes that were written.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Waits until all is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Adds a frame.
    pub(super) fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        if frame.len() < DIRECT_MIN || !self.write_past(frame)? {
            self.file.write_all_at(frame, self.at)?;
        }
        self.at = self.at.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        self.leave()
    }

    /// Writes the blocks that the frame fills past the cache and its ends through it; whether that was possible.
    fn write_past(&mut self, frame: &[u8]) -> io::Result<bool> {
        let Some(past) = &mut self.past else { return Ok(false) };
        let into = usize::try_from(self.at).map_err(io::Error::other)? % BLOCK;
        let Some((head, rest)) = frame.split_at_checked((BLOCK - into) % BLOCK) else { return Ok(false) };
        let (blocks, tail) = rest.split_at(rest.len() / BLOCK * BLOCK);
        let blocks_at = self.at + u64::try_from(head.len()).map_err(io::Error::other)?;
        if let Err(failure) = past.write(blocks, blocks_at) {
            if failure.kind() == io::ErrorKind::StorageFull {
                return Err(failure);
            }
            tracing::debug!("the bundle goes through the cache: {failure}");
            self.past = None;
            return Ok(false);
        }
        self.file.write_all_at(head, self.at)?;
        let tail_at = blocks_at + u64::try_from(blocks.len()).map_err(io::Error::other)?;
        self.file.write_all_at(tail, tail_at)?;
        Ok(true)
    }

    /// What was written leaves the cache, or is on its way to the disk.
    fn leave(&mut self) -> io::Result<()> {
        if self.drop_behind.load(Ordering::Relaxed) && self.at.saturating_sub(self.dropped) >= DROPPED {
            // Only what is on the disk can be dropped.
            self.sync()?;
            posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            self.dropped = self.at;
        }
        let new = self.at.saturating_sub(self.told);
        if new >= WRITE_BACK {
            // Linux begins to write such a range; what it cannot drop yet, it keeps. Only a hint: a refusal changes nothing.
            let range = i64::try_from(self.told).ok().zip(i64::try_from(new).ok());
            if let Some((from, length)) = range {
                let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
                posix_fadvise(&self.file, from, length, advice).unwrap_or_default();
            }
            self.told = self.at;
        }
        Ok(())
    }
}

impl Past {
    fn write(&mut self, blocks: &[u8], at: u64) -> io::Result<()> {
        if self.buffer.len() < blocks.len() + BLOCK {
            self.buffer = vec![0; blocks.len() + BLOCK];
        }
        let begin = self.buffer.as_ptr().align_offset(BLOCK);
        let aligned = self.buffer.get_mut(begin..).and_then(|aligned| aligned.get_mut(..blocks.len()));
        let aligned = aligned.ok_or(io::ErrorKind::InvalidInput)?;
        aligned.copy_from_slice(blocks);
        self.file.write_all_at(aligned, at)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    /// A byte that its place decides.
    fn content(length: usize, from: usize) -> Vec<u8> {
        (from..from + length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    fn disk(path: &std::path::Path, flags: i32) -> Disk {
        let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        let past = OpenOptions::new().write(true).custom_flags(flags).open(path).unwrap();
        Disk::new(file, Some(past), Arc::default())
    }

    #[test]
    fn what_is_written_past_the_cache_and_through_it_is_one_file() {
        // On the disk: where the tests' temporary folder is in memory there may be no way past.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("x");
        let mut disk = disk(&path, libc::O_DIRECT);
        let mut whole = Vec::new();
        for length in
            [1, DIRECT_MIN, 5, 4095, DIRECT_MIN + 1, DIRECT_MIN * 3 + 4095, 4096, DIRECT_MIN - 1, DIRECT_MIN]
        {
            let frame = content(length, whole.len());
            disk.write(&frame).unwrap();
            whole.extend(frame);
            assert_eq!(disk.at(), u64::try_from(whole.len()).unwrap());
            assert!(std::fs::read(&path).unwrap() == whole, "after {length} bytes");
        }
        disk.sync().unwrap();
        assert!(disk.past.is_some(), "the way past the cache was not taken");
    }

    #[test]
    fn where_the_way_past_the_cache_is_refused_the_ordinary_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (path, shut) = (folder.path().join("x"), folder.path().join("shut"));
        std::fs::write(&shut, b"").unwrap();
        let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        // Not open for writing: every write to it fails.
        let mut disk = Disk::new(file, Some(File::open(&shut).unwrap()), Arc::default());
        let whole = content(3 * DIRECT_MIN, 0);
        for frame in whole.chunks(DIRECT_MIN + 7) {
            disk.write(frame).unwrap();
        }
        assert!(disk.past.is_none() && std::fs::read(&path).unwrap() == whole);
    }
}
