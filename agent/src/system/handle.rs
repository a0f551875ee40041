//! A directory's handle, by which fanotify names it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::places::record::{HANDLE_MAX, Handle};

/// `AT_HANDLE_FID` (Linux 6.5): a handle that need not be good for opening, as fanotify uses.
const AT_HANDLE_FID: i32 = 0x200;

/// `struct file_handle` with room for the longest.
#[repr(C)]
struct Raw {
    handle_bytes: u32,
    handle_type: i32,
    f_handle: [u8; HANDLE_MAX],
}

/// The handle and the file system of `directory` (name_to_handle_at(2), statfs(2)).
pub fn handle(directory: BorrowedFd<'_>) -> io::Result<Handle> {
    let raw = match raw(directory, AT_HANDLE_FID) {
        Err(failure) if failure.raw_os_error() == Some(libc::EINVAL) => raw(directory, 0)?,
        outcome => outcome?,
    };
    let length = usize::try_from(raw.handle_bytes).unwrap_or(HANDLE_MAX);
    let bytes = raw.f_handle.get(..length).unwrap_or_default().to_vec();
    Ok(Handle { fsid: fsid(directory)?, kind: raw.handle_type, bytes })
}

fn raw(directory: BorrowedFd<'_>, flags: i32) -> io::Result<Raw> {
    let room = u32::try_from(HANDLE_MAX).unwrap_or(0);
    let mut raw = Raw { handle_bytes: room, handle_type: 0, f_handle: [0; HANDLE_MAX] };
    let mut mount: i32 = 0;
    #[expect(unsafe_code, reason = "nix has no name_to_handle_at")]
    // SAFETY: the empty name ends with a NUL; `raw` has the room that its first field says, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            directory.as_raw_fd(),
            c"".as_ptr(),
            &raw mut raw,
            &raw mut mount,
            flags | libc::AT_EMPTY_PATH,
        )
    };
    if result == 0 { Ok(raw) } else { Err(io::Error::last_os_error()) }
}

fn fsid(directory: BorrowedFd<'_>) -> io::Result<[u8; 8]> {
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    #[expect(unsafe_code, reason = "nix does not give the fsid's value")]
    // SAFETY: `found` has room for what the kernel writes; all zeros is a valid statfs, and an fsid is two plain integers.
    unsafe {
        if libc::fstatfs(directory.as_raw_fd(), found.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(std::mem::transmute::<libc::fsid_t, [u8; 8]>(found.assume_init().f_fsid))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_directory_keeps_its_handle_and_another_has_another() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let of = |name: &str| handle(File::open(folder.path().join(name)).unwrap().as_fd()).unwrap();
        let (before, parent) = (of("a"), of("."));
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert_eq!(before, of("b"));
        assert!(before != parent && before.fsid == parent.fsid && !before.bytes.is_empty());
    }
}
