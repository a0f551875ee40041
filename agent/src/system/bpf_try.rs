//! Tries which kinds of BPF programs the running kernel takes: loads and attaches one that does nothing, then lets go.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for a program of two instructions")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::kernel;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const TYPE_TRACING: u32 = 26;
const TYPE_LSM: u32 = 29;
const ATTACH_FENTRY: u32 = 24;
const ATTACH_LSM_MAC: u32 = 27;
/// `r0 = 0; exit`.
const NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

/// `union bpf_attr` for `BPF_PROG_LOAD`, as far as `attach_prog_fd` (include/uapi/linux/bpf.h, 5.10).
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    btf: u32,
    function_info_size: u32,
    function_info: u64,
    function_info_count: u32,
    line_info_size: u32,
    line_info: u64,
    line_info_count: u32,
    attach_btf_id: u32,
    attach_program: u32,
    padding: u32,
}

/// `union bpf_attr` for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
#[derive(Default)]
struct Open {
    name: u64,
    program: u32,
    padding: u32,
}

/// A program at the entry of a kernel function (of one that a running machine never calls).
pub fn fentry() -> Result<(), String> {
    attempt(TYPE_TRACING, ATTACH_FENTRY, "kernel_halt")
}

/// A program at a security hook (of one that a running machine hardly ever asks; it says yes).
pub fn lsm() -> Result<(), String> {
    attempt(TYPE_LSM, ATTACH_LSM_MAC, "bpf_lsm_quota_on")
}

fn attempt(kind: u32, attach_type: u32, function: &str) -> Result<(), String> {
    let function = kernel::function_id(function).map_err(|failure| failure.to_string())?;
    let license = c"GPL";
    let load = Load {
        kind,
        instruction_count: 2,
        instructions: address(NOTHING.as_ptr()),
        license: address(license.as_ptr()),
        attach_type,
        attach_btf_id: function,
        ..Load::default()
    };
    let program = bpf(BPF_PROG_LOAD, &load).map_err(|failure| format!("loading: {failure}"))?;
    let program_number = u32::try_from(program.as_raw_fd()).map_err(|failure| failure.to_string())?;
    let open = Open { program: program_number, ..Open::default() };
    // The link is closed, and with it the program taken off, at the end of this line.
    bpf(BPF_RAW_TRACEPOINT_OPEN, &open).map(drop).map_err(|failure| format!("attaching: {failure}"))
}

/// Attaches a loaded program to the function it was loaded for; it is taken off when the descriptor is closed. Takes as
/// long as every cpu needs to pass through the kernel once: some ten milliseconds, or seconds on an emulated machine.
pub fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let program = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
    bpf(BPF_RAW_TRACEPOINT_OPEN, &Open { program, ..Open::default() })
}

fn address<T>(pointer: *const T) -> u64 {
    u64::try_from(pointer.addr()).unwrap_or(0)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let size = size_of::<T>();
    // SAFETY: `attributes` is a live #[repr(C)] structure of `size` bytes without padding, which the kernel only reads;
    // the addresses in it point to constants that live for ever.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size) };
    let number = i32::try_from(answer).map_err(io::Error::other)?;
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands answer with a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
