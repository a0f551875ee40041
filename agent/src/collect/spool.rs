//! Files without a name beside the bundle in the making, for what does not fit into memory. They vanish with the collector,
//! however it ends.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;

/// Room on disk, one file for each thread that writes: two in one file would wait for each other.
#[derive(Debug, Default)]
pub struct Spool {
    files: Vec<File>,
    bytes: u64,
}

impl Spool {
    /// So many `files` in `directory`, of `bytes` together. A file system that has no unnamed files gives none.
    pub fn in_directory(directory: BorrowedFd<'_>, files: usize, bytes: u64) -> Self {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let new = |_| Some(File::from(openat(directory, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR).ok()?));
        let files = if bytes == 0 { Vec::new() } else { (0..files).filter_map(new).collect() };
        Self { files, bytes }
    }

    /// The files, to be written over from their beginning, and how many bytes each may hold now: never more than half of what
    /// is free without them.
    ///
    /// They are not emptied: ext4 takes a file that was cut to nothing and written anew for one that must not be lost
    /// (`auto_da_alloc`, ext4(5)), and puts all of it on the disk when it is closed.
    pub(super) fn open(&self) -> io::Result<(Vec<File>, u64)> {
        let Some(first) = self.files.first() else { return Ok((Vec::new(), 0)) };
        let space = fstatvfs(first)?;
        let mut free = space.blocks_available().saturating_mul(space.fragment_size());
        for file in &self.files {
            free = free.saturating_add(file.metadata()?.len());
        }
        let files = self.files.iter().map(File::try_clone).collect::<io::Result<Vec<File>>>()?;
        let each = self.bytes.min(free / 2) / u64::try_from(files.len()).unwrap_or(1).max(1);
        Ok((files, each))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn its_files_have_no_names_and_are_written_over_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let directory = File::open(folder.path()).unwrap();
        let spool = Spool::in_directory(directory.as_fd(), 2, 8192);
        for _ in 0..2 {
            let (files, each) = spool.open().unwrap();
            assert_eq!((files.len(), each), (2, 4096));
            files[0].write_all_at(b"x", 5).unwrap();
            assert_eq!(files[0].metadata().unwrap().len(), 6);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(Spool::in_directory(directory.as_fd(), 2, 0).open().unwrap().0.len(), 0);
        assert_eq!(Spool::default().open().unwrap().1, 0);
    }
}
