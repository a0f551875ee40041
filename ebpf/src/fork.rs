//! The birth of a process.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Fork, Header, kind};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::read::{follow, read};
use crate::{map, task};

#[repr(C)]
struct Record {
    header: Header,
    body: Fork,
}

/// `sched_process_fork(parent, child)`: in the context of whoever forked.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn fork(context: RawTracePointContext) -> i32 {
    let (parent, child): (u64, u64) = (context.arg(0), context.arg(1));
    task::learn_level(parent);
    if follow(child, Field::TaskLeader) == child {
        record(parent, child);
    }
    0
}

#[inline(always)]
fn record(parent: u64, child: u64) -> Option<()> {
    let process = task::process(child)?;
    let body =
        Fork { parent: task::process(parent).unwrap_or(task::NOBODY), name: read(child, Field::TaskName) };
    let record = Record { header: map::header(kind::FORK, process)?, body };
    map::submit(kind::FORK, (&raw const record).cast(), size_of::<Record>() as u64);
    Some(())
}
