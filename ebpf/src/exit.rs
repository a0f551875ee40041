//! The end of a process: of its last thread.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Exit, Header, kind};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::read::{Place, Typed};
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
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn exit(context: BtfTracePointContext) -> i32 {
    record(Typed::argument(&context, 0));
    0
}

#[inline(always)]
fn record(thread: Typed) -> Option<()> {
    let signal = thread.follow(Field::TaskSignal);
    if signal.read::<u32>(Field::SignalLive) != 0 {
        return None;
    }
    let process = task::process(thread)?;
    let status = if signal.read::<u32>(Field::SignalFlags) & SIGNAL_GROUP_EXIT != 0 {
        signal.read(Field::SignalGroupCode)
    } else {
        thread.follow(Field::TaskLeader).read(Field::TaskExitCode)
    };
    let record = Record { header: map::header(kind::EXIT, process)?, body: Exit { status, zero: 0 } };
    map::submit(kind::EXIT, (&raw const record).cast(), size_of::<Record>() as u64, false);
    Some(())
}
