//! How much of the machine a helper may take from others.

#![expect(unsafe_code, reason = "neither nix nor the standard library sets priorities")]

use std::io;

/// `IOPRIO_WHO_PROCESS` and `IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT` (include/uapi/linux/ioprio.h).
const WHO_PROCESS: libc::c_int = 1;
const IDLE: libc::c_int = 3 << 13;

/// This process yields to every other: lowest priority, disk only when nobody else wants it, first to go when memory
/// is short.
pub fn yield_to_all() -> io::Result<()> {
    // SAFETY: plain numbers; 0 means the calling process.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain numbers; 0 means the calling thread, and there is only one yet.
    if unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE) } < 0 {
        return Err(io::Error::last_os_error());
    }
    std::fs::write("/proc/self/oom_score_adj", "900")
}
