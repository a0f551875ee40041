//! Says what the kernel gave it, as one line on descriptor 100: its executable, the name it was asked for by, its arguments.
//!
//! No runtime of the standard library, and one write: it is executed a hundred thousand times.
#![no_main]

use std::ffi::{CStr, c_char, c_int};

const RESULTS: c_int = 100;

/// # Safety
/// Called by the C runtime, with the program's arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let mut line = Line { bytes: [0; 4096], length: 0 };
    let mut link = [0u8; 256];
    // SAFETY: the path ends in a zero, and `link` holds the bytes that are allowed for.
    let length = unsafe { libc::readlink(c"/proc/self/exe".as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    line.add(link.get(..usize::try_from(length).unwrap_or_default()).unwrap_or_default());
    // SAFETY: takes a number only.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: the kernel puts the name into this program's memory, with its zero.
    line.add(if name.is_null() { b"" } else { unsafe { CStr::from_ptr(name) }.to_bytes() });
    for index in 0..usize::try_from(count).unwrap_or_default() {
        // SAFETY: the C runtime passes `count` pointers to zero-terminated strings.
        line.add(unsafe { CStr::from_ptr(*arguments.add(index)) }.to_bytes());
    }
    line.bytes[line.length - 1] = b'\n';
    // SAFETY: `length` bytes of the array are the line.
    let written = unsafe { libc::write(RESULTS, line.bytes.as_ptr().cast(), line.length) };
    c_int::from(usize::try_from(written) != Ok(line.length))
}

struct Line {
    bytes: [u8; 4096],
    length: usize,
}

impl Line {
    /// Adds a text and a tabulator; what does not fit is left out, and will be missed.
    fn add(&mut self, text: &[u8]) {
        for &byte in text.iter().chain(b"\t") {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }
}
