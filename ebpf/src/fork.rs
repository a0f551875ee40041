//! The birth of a process.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Fork, Header, kind};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::read::{Place, Typed};
use crate::{map, task};

#[repr(C)]
struct Record {
    header: Header,
    body: Fork,
}

/// `sched_process_fork(parent, child)`: in the context of whoever forked.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn fork(context: BtfTracePointContext) -> i32 {
    let (parent, child) = (Typed::argument(&context, 0), Typed::argument(&context, 1));
    task::learn_level(parent);
    if child.follow(Field::TaskLeader).address() == child.address() {
        record(parent, child);
    }
    0
}

#[inline(always)]
fn record(parent: Typed, child: Typed) -> Option<()> {
    let process = task::process(child)?;
    let parent = task::process(parent).unwrap_or(task::NOBODY);
    let body = Fork { parent, name: task::name(child) };
    let record = Record { header: map::header(kind::FORK, process)?, body };
    map::submit(kind::FORK, (&raw const record).cast(), size_of::<Record>() as u64, false);
    Some(())
}
