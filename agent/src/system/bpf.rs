//! What aya does not ask the kernel.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// Place of `recursion_misses` in `struct bpf_prog_info` (include/uapi/linux/bpf.h, since 5.12).
const RECURSION_MISSES: usize = 208;

/// `attr` of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct InfoRequest {
    fd: u32,
    length: u32,
    info: u64,
}

/// How often the kernel skipped the program because it was already running on that cpu; `None` before 5.12.
pub fn recursion_misses(program: BorrowedFd<'_>) -> Option<u64> {
    let mut info = [0_u8; RECURSION_MISSES + 8];
    let mut request = InfoRequest {
        fd: u32::try_from(program.as_raw_fd()).ok()?,
        length: u32::try_from(info.len()).ok()?,
        info: u64::try_from(info.as_mut_ptr().addr()).ok()?,
    };
    let size = size_of::<InfoRequest>();
    info.as_mut_ptr().expose_provenance();
    #[expect(unsafe_code, reason = "neither aya nor nix asks for this field")]
    // SAFETY: the kernel writes at most `length` bytes to `info` and the length to `request`; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw mut request, size) };
    if result != 0 || usize::try_from(request.length).ok()? < info.len() {
        return None;
    }
    info.last_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// Kernels before 5.11 count maps against RLIMIT_MEMLOCK. Raises it as far as we may; the kernel says the rest.
pub fn lift_memory_lock_limit() {
    let unlimited = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if unlimited.is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        && let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)
    {
        tracing::debug!(%error, "the memory-lock limit stays as it is");
    }
}
