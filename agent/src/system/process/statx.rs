//! What the kernel already knows of a file, without asking the file system: a dead FUSE or network server answers
//! nothing, and holds whoever asks.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// Attributes of a file. Of a remote file they are those the kernel has in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Device of the file system, major and minor.
    pub(crate) device: (u32, u32),
    /// Inode number.
    pub(crate) inode: u64,
    /// Links; 0 for a file that was deleted, or a memfd.
    pub(crate) links: u32,
    /// Type and permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Number of the mount it was reached by, as in `mountinfo`; `None` before Linux 5.8.
    pub(crate) mount: Option<u64>,
    /// Whether nobody can change it (chattr(1)), where the file system says so.
    pub(crate) immutable: bool,
    /// Whether it can be appended to only.
    pub(crate) append_only: bool,
    /// Last read, change of content, change of the inode, birth: seconds and nanoseconds since 1970.
    pub(crate) times: [Option<(i64, u32)>; 4],
}

impl Attributes {
    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// The inode's last change: seconds and nanoseconds since 1970. Unlike the others it cannot be set at will.
    pub(crate) fn changed(&self) -> Option<(i64, u32)> {
        let [_, _, changed, _] = self.times;
        changed
    }

    /// Whether it is a symbolic link.
    pub(crate) fn is_link(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }

    /// Its type, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self.mode & libc::S_IFMT {
            libc::S_IFREG => "file",
            libc::S_IFDIR => "directory",
            libc::S_IFLNK => "link",
            libc::S_IFIFO => "fifo",
            libc::S_IFSOCK => "socket",
            libc::S_IFCHR | libc::S_IFBLK => "device",
            _ => "unknown",
        }
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// The attributes of `name` below `dir` (of `dir` itself, where the name is empty), of a link and not of what it leads to.
pub(crate) fn statx(dir: impl AsFd, name: &CStr) -> io::Result<Attributes> {
    ask(dir, name, libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW)
}

/// The attributes of what a magic link of /proc (`exe`, `fd/3`) leads to: no name is looked up for that.
pub(crate) fn statx_behind(dir: impl AsFd, link: &CStr) -> io::Result<Attributes> {
    ask(dir, link, 0)
}

fn ask(dir: impl AsFd, name: &CStr, flags: libc::c_int) -> io::Result<Attributes> {
    let flags = flags | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME | libc::STATX_MNT_ID;
    let mut raw = MaybeUninit::<libc::statx>::zeroed();
    #[expect(unsafe_code, reason = "nix has no statx")]
    // SAFETY: the name ends with a NUL, the descriptor is open, and `raw` has room for what the kernel writes; all
    // zeros is a valid statx.
    let raw = unsafe {
        if libc::statx(dir.as_fd().as_raw_fd(), name.as_ptr(), flags, mask, raw.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        raw.assume_init()
    };
    let time =
        |bit, time: libc::statx_timestamp| (raw.stx_mask & bit != 0).then_some((time.tv_sec, time.tv_nsec));
    let flag = |bit: libc::c_int| u64::try_from(bit).is_ok_and(|bit| raw.stx_attributes & bit != 0);
    Ok(Attributes {
        device: (raw.stx_dev_major, raw.stx_dev_minor),
        inode: raw.stx_ino,
        links: raw.stx_nlink,
        mode: u32::from(raw.stx_mode),
        uid: raw.stx_uid,
        gid: raw.stx_gid,
        size: raw.stx_size,
        immutable: flag(libc::STATX_ATTR_IMMUTABLE),
        append_only: flag(libc::STATX_ATTR_APPEND),
        mount: (raw.stx_mask & libc::STATX_MNT_ID != 0).then_some(raw.stx_mnt_id),
        times: [
            time(libc::STATX_ATIME, raw.stx_atime),
            time(libc::STATX_MTIME, raw.stx_mtime),
            time(libc::STATX_CTIME, raw.stx_ctime),
            time(libc::STATX_BTIME, raw.stx_btime),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_a_link_and_a_deleted_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"12345").unwrap();
        std::os::unix::fs::symlink(&path, folder.path().join("l")).unwrap();
        let dir = std::fs::File::open(folder.path()).unwrap();
        let file = statx(&dir, c"a").unwrap();
        assert!(file.is_file() && file.size == 5 && file.links == 1);
        assert!(!statx(&dir, c"l").unwrap().is_file());
        assert!(statx(&dir, c"").unwrap().is_dir());
        assert_eq!(statx(&dir, c"none").unwrap_err().kind(), io::ErrorKind::NotFound);
        let open = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let deleted = statx(&open, c"").unwrap();
        assert_eq!((deleted.inode, deleted.links), (file.inode, 0));
    }
}
