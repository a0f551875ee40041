//! File attributes that are already in memory.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::Timestamp;

/// What a file is, without asking its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub inode: u64,
    /// As the kernel's `s_dev`: major << 20 | minor.
    pub device: u32,
    /// Names it has.
    pub links: u32,
    /// When content, owner, mode or names were last changed.
    pub changed: Option<Timestamp>,
}

/// The attributes of `path`, through a link of /proc such as `/proc/PID/exe`, which needs no lookup by name. A network
/// or FUSE file system answers from what it knows already, so that a dead one cannot hold us.
pub fn known_attributes(path: &Path) -> io::Result<Attributes> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let (flags, mask) = (libc::AT_STATX_DONT_SYNC, libc::STATX_INO | libc::STATX_NLINK | libc::STATX_CTIME);
    #[expect(unsafe_code, reason = "nix has no statx")]
    // SAFETY: `path` ends with a NUL and `found` has room for the structure; both outlive the call.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, found.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "as above")]
    // SAFETY: zeroed before and filled by the kernel; every bit pattern is valid.
    let found = unsafe { found.assume_init() };
    let device = found.stx_dev_major << 20 | found.stx_dev_minor;
    let changed = (found.stx_mask & libc::STATX_CTIME != 0)
        .then(|| Timestamp::new(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec.try_into().ok()?).ok())
        .flatten();
    Ok(Attributes { inode: found.stx_ino, device, links: found.stx_nlink, changed })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn our_own_executable_is_known() {
        let path = Path::new("/proc/self/exe");
        let (found, wanted) = (known_attributes(path).unwrap(), std::fs::metadata(path).unwrap());
        assert_eq!((found.inode, u64::from(found.links)), (wanted.ino(), wanted.nlink()));
        let device = u64::from(found.device);
        assert_eq!(nix::sys::stat::makedev(device >> 20, device & 0xf_ffff), wanted.dev());
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(known_attributes(Path::new("/proc/self/none")).is_err());
    }
}
