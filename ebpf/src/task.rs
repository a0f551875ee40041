//! Who: processes as the agent's PID namespace sees them.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Process, config, state};
use aya_ebpf::helpers::bpf_get_current_task;

use crate::map;
use crate::read::{Address, follow, offset, read, setting};

/// No process, or one that is not in the agent's namespace.
pub(crate) const NOBODY: Process = Process { start: 0, pid: 0, zero: 0 };

/// The task that runs now.
#[inline(always)]
pub(crate) fn current() -> Address {
    // SAFETY: takes no arguments.
    unsafe { bpf_get_current_task() }
}

/// The process `task` belongs to; `None` when it is not in the agent's namespace.
#[inline(always)]
pub(crate) fn process(task: Address) -> Option<Process> {
    let leader = follow(task, Field::TaskLeader);
    // 0 while the level is not known yet; no level is that deep then.
    let level = map::state(state::LEVEL).wrapping_sub(1);
    let upid = number_at(leader, level);
    if namespace(upid) != setting(config::NAMESPACE) || level > deepest(leader) {
        return None;
    }
    Some(Process { start: read(leader, Field::TaskStart), pid: read(upid, Field::UpidNr), zero: 0 })
}

/// Learns the level of the agent's namespace from the first task seen that lives in it (and not deeper). The agent
/// makes one itself, before it believes anything.
#[inline(always)]
pub(crate) fn learn_level(task: Address) {
    if map::state(state::LEVEL) == 0 {
        let leader = follow(task, Field::TaskLeader);
        if own_namespace(leader) == setting(config::NAMESPACE) {
            map::tell(state::LEVEL, deepest(leader) + 1);
        }
    }
}

/// Inode number of the PID namespace that `leader` lives in.
#[inline(always)]
pub(crate) fn own_namespace(leader: Address) -> u32 {
    namespace(number_at(leader, deepest(leader)))
}

#[inline(always)]
fn deepest(leader: Address) -> u32 {
    read(follow(leader, Field::TaskPid), Field::PidLevel)
}

/// The `upid` of `leader` at `level`.
#[inline(always)]
fn number_at(leader: Address, level: u32) -> Address {
    let numbers = follow(leader, Field::TaskPid).wrapping_add(offset(Field::PidNumbers) as u64);
    numbers.wrapping_add(level as u64 * offset(Field::Upid) as u64)
}

#[inline(always)]
fn namespace(upid: Address) -> u32 {
    read(follow(upid, Field::UpidNs), Field::PidNsInum)
}
