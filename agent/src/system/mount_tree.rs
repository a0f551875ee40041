//! Mounts that are attached nowhere: nobody else sees them, and they are gone when the descriptor is closed.

#![expect(unsafe_code, reason = "nix has none of the newer mount calls")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

const OPEN_TREE_CLONE: libc::c_uint = 1;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;

/// A procfs of our own PID namespace, over which nobody has mounted anything (Linux 5.2, CAP_SYS_ADMIN).
pub fn own_proc() -> io::Result<OwnedFd> {
    // SAFETY: a name that ends with a NUL, and numbers; see `descriptor`.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) })?;
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: an open descriptor, a command that takes neither key nor value.
    let created = unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, nothing, nothing, 0)
    };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
    // `MOUNT_ATTR_RDONLY`, `_NOSUID`, `_NODEV` and `_NOEXEC` are the same numbers as these.
    // SAFETY: an open descriptor and numbers.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, flags) })
}

/// The mount that `path` (a path descriptor) is on, from there down, without those that lie on it.
pub fn without_mounts_on_it(path: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | libc::AT_EMPTY_PATH.cast_unsigned();
    let empty: &CStr = c"";
    // SAFETY: an open descriptor, a name that ends with a NUL, and numbers.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, path.as_fd().as_raw_fd(), empty.as_ptr(), flags) })
}

/// What the kernel answered: a new descriptor, or an error.
fn descriptor(answer: libc::c_long) -> io::Result<OwnedFd> {
    match libc::c_int::try_from(answer) {
        // SAFETY: all of these calls answer with a new descriptor, which nobody else owns.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(io::Error::last_os_error()),
    }
}
