//! The end of a process: of its last thread.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Exit, Header, kind};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::read::{follow, read};
use crate::{map, task};

/// The group's code counts, not the leader's (include/linux/sched/signal.h, unchanged since 2.6).
const SIGNAL_GROUP_EXIT: u32 = 4;

#[repr(C)]
struct Record {
    header: Header,
    body: Exit,
}

/// `sched_process_exit(task, ...)`: after the thread was taken from the count of living ones. Two last threads that
/// end together may both see none left; the agent keeps the first record.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn exit(context: RawTracePointContext) -> i32 {
    record(context.arg(0));
    0
}

#[inline(always)]
fn record(thread: u64) -> Option<()> {
    let signal = follow(thread, Field::TaskSignal);
    if read::<u32>(signal, Field::SignalLive) != 0 {
        return None;
    }
    let process = task::process(thread)?;
    let status = if read::<u32>(signal, Field::SignalFlags) & SIGNAL_GROUP_EXIT != 0 {
        read(signal, Field::SignalGroupCode)
    } else {
        read(follow(thread, Field::TaskLeader), Field::TaskExitCode)
    };
    let record = Record { header: map::header(kind::EXIT, process)?, body: Exit { status, zero: 0 } };
    map::submit(kind::EXIT, (&raw const record).cast(), size_of::<Record>() as u64);
    Some(())
}
