//! BPF programs as the kernel numbers them: the list of their numbers, and each by its number or by a name it is pinned to.

#![expect(unsafe_code, reason = "aya opens no program by its number without reading all of it")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_F_RDONLY: u32 = 8;
/// As much of `struct bpf_prog_info` as we read: up to and with `name` (include/uapi/linux/bpf.h, 4.15).
const INFO: usize = 80;

/// A program, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The kernel's number of it, which is not given again soon.
    pub id: u32,
    /// `BPF_PROG_TYPE_*`
    pub kind: u32,
    /// A hash of its instructions.
    pub tag: [u8; 8],
    /// At most 15 bytes.
    pub name: Vec<u8>,
    /// Nanoseconds since the boot.
    pub loaded: u64,
}

/// The first two are `id` and `next_id` or `open_flags`, as the command wants.
#[repr(C)]
#[derive(Default)]
struct Number {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct Pinned {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoRequest {
    fd: u32,
    length: u32,
    info: u64,
}

/// The number after `id` in the kernel's list; nothing at its end.
pub fn next(id: u32) -> io::Result<Option<u32>> {
    let mut number = Number { id, ..Number::default() };
    match call(BPF_PROG_GET_NEXT_ID, &mut number) {
        Ok(_) => Ok(Some(number.next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The program of this number; nothing where there is none.
pub fn by_number(id: u32) -> io::Result<Option<OwnedFd>> {
    match call(BPF_PROG_GET_FD_BY_ID, &mut Number { id, ..Number::default() }).and_then(descriptor) {
        Ok(program) => Ok(Some(program)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is pinned at `path`, whatever it is.
pub fn pinned(path: &CStr) -> io::Result<OwnedFd> {
    let path = u64::try_from(path.as_ptr().expose_provenance()).map_err(io::Error::other)?;
    // Not every kernel lets a program be opened for reading only.
    let open = |flags| call(BPF_OBJ_GET, &mut Pinned { path, fd: 0, flags }).and_then(descriptor);
    open(0).or_else(|_| open(BPF_F_RDONLY))
}

/// What the kernel says of a program.
pub fn describe(program: BorrowedFd<'_>) -> io::Result<Program> {
    let mut info = [0_u8; INFO];
    let mut request = InfoRequest {
        fd: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        length: u32::try_from(INFO).map_err(io::Error::other)?,
        info: u64::try_from(info.as_mut_ptr().expose_provenance()).map_err(io::Error::other)?,
    };
    call(BPF_OBJ_GET_INFO_BY_FD, &mut request)?;
    parse(&info).ok_or_else(|| io::Error::other("its description is cut"))
}

fn parse(info: &[u8; INFO]) -> Option<Program> {
    let word = |at: usize| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let name = info.get(64..)?.split(|&byte| byte == 0).next()?;
    Some(Program {
        kind: word(0)?,
        id: word(4)?,
        tag: *info.get(8..)?.first_chunk()?,
        loaded: u64::from_ne_bytes(*info.get(40..)?.first_chunk()?),
        name: name.to_vec(),
    })
}

fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is a live #[repr(C)] structure of this size without padding; what it points to outlives the call,
    // and the kernel writes no more of that than the structure says.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn descriptor(answer: libc::c_long) -> io::Result<OwnedFd> {
    let number = libc::c_int::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the commands this is for answer with a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_read_where_the_kernel_puts_it() {
        let mut info = [0_u8; INFO];
        info[0..4].copy_from_slice(&17_u32.to_ne_bytes());
        info[4..8].copy_from_slice(&42_u32.to_ne_bytes());
        info[8..16].copy_from_slice(b"\x01\x02\x03\x04\x05\x06\x07\x08");
        info[40..48].copy_from_slice(&5_000_000_000_u64.to_ne_bytes());
        info[64..68].copy_from_slice(b"exec");
        let expected = Program {
            id: 42,
            kind: 17,
            tag: [1, 2, 3, 4, 5, 6, 7, 8],
            name: b"exec".to_vec(),
            loaded: 5_000_000_000,
        };
        assert_eq!(parse(&info), Some(expected));
        info[64..].fill(b'x');
        assert_eq!(parse(&info).unwrap().name, b"xxxxxxxxxxxxxxxx");
    }
}
