//! A process by descriptor: a signal by it reaches that process or nobody.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor of the process that has `pid` now.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "nix has no pidfd_open")]
    // SAFETY: plain numbers; a positive answer is a new descriptor that nobody else owns.
    let (number, fd) = unsafe {
        let number = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = RawFd::try_from(number).ok().filter(|fd| *fd >= 0);
        (number, fd.map(|fd| OwnedFd::from_raw_fd(fd)))
    };
    fd.ok_or_else(
        || if number < 0 { io::Error::last_os_error() } else { io::Error::other("an odd descriptor") },
    )
}

/// Sends a signal to the process.
pub fn signal(process: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix has no pidfd_send_signal")]
    // SAFETY: an open descriptor, a number, and no structure.
    let result = unsafe {
        let nothing = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, nothing, 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_signal_reaches_the_process_and_after_its_end_nobody() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = open(child.id()).unwrap();
        signal(process.as_fd(), libc::SIGKILL).unwrap();
        child.wait().unwrap();
        let failure = signal(process.as_fd(), libc::SIGKILL).unwrap_err();
        assert_eq!(failure.raw_os_error(), Some(libc::ESRCH));
        assert!(open(u32::MAX).is_err());
    }
}
