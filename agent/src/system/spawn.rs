//! Starts our own helper processes: the same binary, with descriptors at fixed numbers.

#![expect(unsafe_code, reason = "descriptors are placed, and found, by number across an exec")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The number of the first descriptor that is handed to a helper.
pub const FIRST: RawFd = 3;

/// Starts `/proc/self/exe` with `arguments`; `descriptors` become 3, 4, … in the child. The child has an empty
/// environment (but for `RUST_LOG`) and is killed by the kernel when the thread that started it ends.
pub fn ourselves(
    arguments: &[&OsStr],
    descriptors: &[OwnedFd],
    stdin: Stdio,
    stdout: Stdio,
) -> io::Result<Child> {
    start(arguments, descriptors, [stdin, stdout], true)
}

/// The same, for a helper that has something to do after our end: it sees it by its channel.
pub fn survivor(arguments: &[&OsStr], descriptors: &[OwnedFd]) -> io::Result<Child> {
    start(arguments, descriptors, [Stdio::null(), Stdio::null()], false)
}

fn start(
    arguments: &[&OsStr],
    descriptors: &[OwnedFd],
    [stdin, stdout]: [Stdio; 2],
    dies_with_us: bool,
) -> io::Result<Child> {
    let count = RawFd::try_from(descriptors.len()).map_err(io::Error::other)?;
    // Copies above every target, so that no dup2 overwrites one that is still to come.
    let above: Vec<OwnedFd> = descriptors
        .iter()
        .map(|descriptor| copy_above(descriptor, FIRST + count))
        .collect::<io::Result<_>>()?;
    let numbers: Vec<RawFd> = above.iter().map(AsRawFd::as_raw_fd).collect();
    let mut command = Command::new("/proc/self/exe");
    command.arg0("afterimage").args(arguments).env_clear().stdin(stdin).stdout(stdout);
    if let Some(level) = std::env::var_os("RUST_LOG") {
        command.env("RUST_LOG", level);
    }
    // SAFETY: between fork and exec only async-signal-safe calls are made (dup2, prctl), no memory is allocated,
    // and the descriptors in `numbers` stay open in the parent until `spawn` has returned.
    unsafe {
        command.pre_exec(move || {
            for (target, &number) in (FIRST..).zip(&numbers) {
                if libc::dup2(number, target) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            if dies_with_us && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}

/// The descriptor with `number` that [`ourselves`] placed. Call it once for each number, at the very start.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on any number is harmless; it fails with EBADF when nothing is open there.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open (just checked), and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn copy_above(descriptor: &OwnedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain fcntl; a negative answer is handled, any other is a new descriptor that nobody else owns.
    let number = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
