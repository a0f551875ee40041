//! Lives for less than a millisecond and leaves no file: unlinks itself and exits with status 42.
//!
//! No runtime of the standard library: its start alone costs a good part of the millisecond.
#![no_main]

use std::ffi::{c_char, c_int};

/// # Safety
/// Called by the C runtime, with the program's arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    if count < 1 {
        return 1;
    }
    // SAFETY: the C runtime passes `count` pointers to zero-terminated strings.
    let unlinked = unsafe { libc::unlink(*arguments) };
    if unlinked == 0 { 42 } else { 1 }
}
