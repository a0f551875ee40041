//! The kernel's own list of tasks, for whoever reads it: a process that hides from /proc is in it.

use core::ffi::c_void;

use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::bpf_seq_write;
use aya_ebpf::programs::BtfTracePointContext;

use crate::read::{Place, Typed};
use crate::task;

/// `bpf_iter__task` (since 5.8): the reader first, then one thread after the other, and none at the end. What is written
/// goes to the reader: a [`Process`](afterimage_ebpf::Process) for each thread.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
fn tasks(context: *mut c_void) -> i32 {
    let context = BtfTracePointContext::new(context);
    let (reader, thread) = (Typed::argument(&context, 0), Typed::argument(&context, 1));
    if thread.is_none() {
        return 0;
    }
    if let Some(process) = task::process(thread) {
        let length = size_of_val(&process) as u32;
        // SAFETY: `bpf_iter_meta` begins with the pointer to the file; the verifier checks its type and the length.
        unsafe { bpf_seq_write(reader.first::<seq_file>(), (&raw const process).cast(), length) };
    }
    // Where there was no room the kernel makes some and comes again.
    0
}
