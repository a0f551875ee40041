//! Stopping threads without signals they or their parents could see: PTRACE_SEIZE. The kernel lets every thread go when
//! the tracer ends, however it ends.

use std::io;
use std::mem::MaybeUninit;

use nix::sys::ptrace;
use nix::unistd::Pid;

/// Room for the largest register set we ask for.
const REGSET_MAX: usize = 4096;

/// A register set, by the number of its note in a core (include/uapi/linux/elf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regset {
    /// General registers.
    General = 1,
    /// Floating point.
    Float = 2,
}

/// How a thread answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It still runs.
    Running,
    /// It stopped; this signal was about to be delivered and must be given back (0 for none).
    Stopped(i32),
    /// It has ended.
    Ended,
}

/// Becomes the tracer of the thread and asks it to stop. Both ends are of this thread: only it may go on.
pub(crate) fn seize_and_interrupt(thread: u32) -> io::Result<()> {
    let pid = pid(thread)?;
    ptrace::seize(pid, ptrace::Options::empty())?;
    ptrace::interrupt(pid)?;
    Ok(())
}

/// Whether the thread has stopped by now; does not wait.
pub(crate) fn poll(thread: u32) -> io::Result<Answer> {
    let mut status = 0;
    #[expect(unsafe_code, reason = "nix refuses the statuses of real-time signals, and would lose them")]
    // SAFETY: `status` is a valid place for the kernel's answer.
    let result =
        unsafe { libc::waitpid(pid(thread)?.as_raw(), &raw mut status, libc::WNOHANG | libc::__WALL) };
    match result {
        0 => Ok(Answer::Running),
        result if result < 0 => Err(io::Error::last_os_error()),
        _ if libc::WIFSTOPPED(status) => {
            // A stop that we asked for, or a group's, is an event; anything else is a signal on its way.
            let event = status >> 16;
            Ok(Answer::Stopped(if event == 0 { libc::WSTOPSIG(status) } else { 0 }))
        }
        _ => Ok(Answer::Ended),
    }
}

/// Takes note of the thread's end, if it has ended; leaves any other news of it to its tracer. Until somebody takes note,
/// its process cannot go on with an exec. Any thread of the tracer may do so.
pub(crate) fn note_end(thread: u32) -> bool {
    let mut news = MaybeUninit::<libc::siginfo_t>::zeroed();
    // A stop is reported even without WSTOPPED.
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    #[expect(unsafe_code, reason = "nix has no WNOWAIT together with __WALL")]
    // SAFETY: `news` is a valid place for the kernel's answer, and all zeros is a valid one.
    let ended = unsafe {
        libc::waitid(libc::P_PID, thread, news.as_mut_ptr(), flags) == 0
            && matches!(news.assume_init().si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED)
    };
    ended && matches!(poll(thread), Ok(Answer::Ended))
}

/// A register set of a stopped thread, as the kernel lays it out in a core.
pub(crate) fn registers(thread: u32, set: Regset) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; REGSET_MAX];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let note: usize = match set {
        Regset::General => 1,
        Regset::Float => 2,
    };
    #[expect(unsafe_code, reason = "nix gives registers as structures, a core needs their bytes")]
    // SAFETY: the kernel writes at most `iov_len` bytes to `bytes` and the length to `vector`.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGSET,
            pid(thread)?.as_raw(),
            std::ptr::without_provenance_mut::<libc::c_void>(note),
            (&raw mut vector).cast::<libc::c_void>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(vector.iov_len);
    Ok(bytes)
}

/// The signal information of a stopped thread, as the kernel lays it out in a core.
pub(crate) fn signal_information(thread: u32) -> io::Result<[u8; 128]> {
    let mut bytes = [0_u8; size_of::<libc::siginfo_t>()];
    #[expect(unsafe_code, reason = "nix gives a structure, a core needs its bytes")]
    // SAFETY: `bytes` has the size of a siginfo_t, and any alignment will do for the kernel's copy.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETSIGINFO,
            pid(thread)?.as_raw(),
            std::ptr::null_mut::<libc::c_void>(),
            bytes.as_mut_ptr().cast::<libc::c_void>(),
        )
    };
    if result == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// Lets a stopped thread go, and gives it the signal it was about to get.
pub(crate) fn release(thread: u32, signal: i32) -> io::Result<()> {
    let signal = usize::try_from(signal).unwrap_or_default();
    #[expect(unsafe_code, reason = "nix knows no real-time signals")]
    // SAFETY: PTRACE_DETACH reads and writes no memory of ours.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_DETACH,
            pid(thread)?.as_raw(),
            std::ptr::null_mut::<libc::c_void>(),
            std::ptr::without_provenance_mut::<libc::c_void>(signal),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn pid(thread: u32) -> io::Result<Pid> {
    i32::try_from(thread).map(Pid::from_raw).map_err(io::Error::other)
}
