//! Stops a process whose executable has no file before its first instruction, so that the agent can take what would
//! vanish with it. Only while the agent is there to let it go, only so many at a time, and never what a terminal runs:
//! its shell would tell of the stop.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{HEARTBEAT_OLD, HELD_MOST, Held, Process, config, flag, kind, state};
use aya_ebpf::helpers::generated;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;

use crate::map;
use crate::read::{Place, Typed, setting};

const SIGSTOP: u32 = 19;
const SIGCONT: u32 = 18;

/// Who is stopped, by pid: the budget, and the list for whoever lets them go.
#[map]
static HELD: HashMap<u32, Held> = HashMap::with_max_entries(HELD_MOST, 0);

/// Stops `program` (the process that runs now) and says so in `flags`; whether it is stopped.
#[inline(always)]
pub(crate) fn hold(program: Typed, process: Process, flags: &mut u32) -> bool {
    if setting(config::HOLD) == 0 {
        return false;
    }
    map::count(kind::HOLD, |count| count.attempted += 1);
    // SAFETY: takes no arguments.
    let now = unsafe { generated::bpf_ktime_get_boot_ns() };
    let alone = now.wrapping_sub(map::state(state::HEARTBEAT)) > HEARTBEAT_OLD;
    let terminal = program.follow(Field::TaskSignal).read::<u64>(Field::SignalTty) != 0;
    if alone || terminal {
        map::count(kind::HOLD, |count| count.nested += 1);
        *flags |= flag::NOT_HELD;
        return false;
    }
    if HELD.insert(&process.pid, &Held { start: process.start, time: now }, 0).is_err() {
        map::count(kind::HOLD, |count| count.full += 1);
        *flags |= flag::NOT_HELD;
        return false;
    }
    // SAFETY: a signal to the task that runs now.
    if unsafe { generated::bpf_send_signal(SIGSTOP) } != 0 {
        let _there_is_none = HELD.remove(&process.pid);
        map::count(kind::HOLD, |count| count.nested += 1);
        *flags |= flag::NOT_HELD;
        return false;
    }
    *flags |= flag::HELD;
    true
}

/// Takes the stop back before it comes into force.
#[inline(always)]
pub(crate) fn let_go(process: Process) {
    // SAFETY: as above. Where it fails, the thawer finds the process in the list.
    if unsafe { generated::bpf_send_signal(SIGCONT) } == 0 {
        let _there_is_none = HELD.remove(&process.pid);
    }
}
