//! How much of the machine a helper may take from others.

#![expect(unsafe_code, reason = "neither nix nor the standard library sets priorities")]

use std::io;

/// `IOPRIO_WHO_PROCESS` and `IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT` (include/uapi/linux/ioprio.h).
const WHO_PROCESS: libc::c_int = 1;
const IDLE: libc::c_int = 3 << 13;

/// Whether a process (`None`: the calling thread) runs only where nobody else wants to: `SCHED_IDLE` (sched(7)). The
/// scheduler treats a cpu that runs nothing else as idle, so that whoever wakes up is there at once.
pub fn set_idle(pid: Option<u32>, idle: bool) -> io::Result<()> {
    let pid = pid.map_or(Ok(0), libc::pid_t::try_from).map_err(io::Error::other)?;
    // Children inherit it all the same: the kernel takes back only what is above the normal. A helper says so itself.
    let policy = if idle { libc::SCHED_IDLE | libc::SCHED_RESET_ON_FORK } else { libc::SCHED_OTHER };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads `parameters`, which outlives the call; 0 means the calling thread.
    if unsafe { libc::sched_setscheduler(pid, policy, &raw const parameters) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

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
