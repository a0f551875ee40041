//! What aya does not ask the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
/// The kernel writes a value for each possible cpu, and only /sys says how many there are, which may not be mounted:
/// this is more than any kernel can have (`NR_CPUS`).
const CPUS: usize = 8192;

/// `attr` of BPF_MAP_LOOKUP_ELEM.
#[repr(C)]
struct Lookup {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `link_create` (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
const BPF_TRACE_ITER: u32 = 28;

/// `attr` of BPF_LINK_CREATE, for an iterator over everything.
#[repr(C)]
#[derive(Default)]
struct LinkRequest {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_length: u32,
    zero: u32,
}

/// `attr` of BPF_ITER_CREATE.
#[repr(C)]
struct IterRequest {
    link: u32,
    flags: u32,
}

/// Links an iterator's program; from the link one can begin any number of walks (Linux 5.8).
pub fn link_iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let request =
        LinkRequest { program: number(program)?, attach_type: BPF_TRACE_ITER, ..LinkRequest::default() };
    new_descriptor(BPF_LINK_CREATE, &request)
}

/// A walk from the beginning, to be read like a file; the process that asks for it decides whose PID namespace is listed.
pub fn walk(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    new_descriptor(BPF_ITER_CREATE, &IterRequest { link: number(link)?, flags: 0 })
}

fn new_descriptor<T>(command: libc::c_int, request: &T) -> io::Result<OwnedFd> {
    #[expect(
        unsafe_code,
        reason = "aya gives one walk for each link and does not give the link's descriptor away"
    )]
    // SAFETY: the kernel reads the request, which outlives the call; what it returns is a new descriptor of ours.
    unsafe {
        let result = libc::syscall(libc::SYS_bpf, command, &raw const *request, size_of::<T>());
        match libc::c_int::try_from(result) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn number(descriptor: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(descriptor.as_raw_fd()).map_err(io::Error::other)
}

/// The values of `key` in a per-cpu array of three numbers, by cpu; those after the last that counted are left out.
pub fn per_cpu(map: BorrowedFd<'_>, key: u32) -> io::Result<Vec<[u64; 3]>> {
    let mut values = vec![[0_u64; 3]; CPUS];
    let request = Lookup {
        map: number(map)?,
        zero: 0,
        key: address(&raw const key)?,
        value: address(values.as_mut_ptr())?,
        flags: 0,
    };
    #[expect(unsafe_code, reason = "aya needs /sys for this")]
    // SAFETY: the kernel reads four bytes at `key` and writes 24 bytes for each possible cpu, at most CPUS; both
    // outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const request, size_of::<Lookup>()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let last = values.iter().rposition(|value| *value != [0; 3]).map_or(0, |last| last + 1);
    values.truncate(last);
    Ok(values)
}

/// An address, as the kernel wants it in a structure.
fn address<T>(pointer: *const T) -> io::Result<u64> {
    u64::try_from(pointer.expose_provenance()).map_err(io::Error::other)
}

/// How often the kernel skipped the program because it was already running on that cpu; `None` before 5.12.
pub fn recursion_misses(program: BorrowedFd<'_>) -> Option<u64> {
    let mut info = [0_u8; RECURSION_MISSES + 8];
    let mut request = InfoRequest {
        fd: u32::try_from(program.as_raw_fd()).ok()?,
        length: u32::try_from(info.len()).ok()?,
        info: address(info.as_mut_ptr()).ok()?,
    };
    let size = size_of::<InfoRequest>();
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
