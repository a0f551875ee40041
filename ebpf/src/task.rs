//! Who: processes as the agent's PID namespace sees them.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{INITIAL_PID_NAMESPACE, NAME_BYTES, Process, config, state};
use aya_ebpf::helpers::bpf_get_current_task;

use crate::map;
use crate::read::{Address, Place, offset, read_at, setting};

/// No process, or one that is not in the agent's namespace.
pub(crate) const NOBODY: Process = Process { start: 0, pid: 0, zero: 0 };

/// Bytes of a `upid`, as the field table demands; a constant, because the verifier of 6.1 does not multiply by others.
const UPID: u64 = 16;

/// Namespaces nest at most this deep (`MAX_PID_NS_LEVEL`), and a power of two is what the verifier understands.
const DEEPEST: u64 = 31;

/// The task that runs now.
#[inline(always)]
pub(crate) fn current() -> Address {
    // SAFETY: takes no arguments.
    unsafe { bpf_get_current_task() }
}

/// The process `task` belongs to; `None` when it is not in the agent's namespace.
#[inline(always)]
pub(crate) fn process(task: impl Place) -> Option<Process> {
    let leader = task.follow(Field::TaskLeader);
    let pid = leader.follow(Field::TaskPid);
    let (level, namespace) = if is_initial() {
        (0, 0)
    } else {
        // 0 while the level is not known yet; no level is that deep then.
        (map::state(state::LEVEL).wrapping_sub(1), map::state(state::NAMESPACE))
    };
    if level > deepest(pid) as u64 {
        return None;
    }
    let upid = number_at(pid, level);
    if !is_initial() && upid.namespace != namespace {
        return None;
    }
    Some(Process { start: leader.read(Field::TaskStart), pid: upid.number, zero: 0 })
}

/// Learns the level of the agent's namespace from the first task seen that lives in it (and not deeper). The agent
/// makes one itself, before it believes anything.
#[inline(always)]
pub(crate) fn learn_level(task: impl Place) {
    if !is_initial() && map::state(state::LEVEL) == 0 {
        let pid = task.follow(Field::TaskLeader).follow(Field::TaskPid);
        let upid = number_at(pid, deepest(pid) as u64);
        if upid.namespace.read::<u32>(Field::PidNsInum) == setting(config::NAMESPACE) {
            map::tell(state::NAMESPACE, upid.namespace);
            map::tell(state::LEVEL, deepest(pid) as u64 + 1);
        }
    }
}

/// The short name of `task`'s thread.
#[inline(always)]
pub(crate) fn name(task: impl Place) -> [u8; NAME_BYTES] {
    // Two words: as bytes it would be sixteen loads.
    let [low, high] = task.read::<[u64; 2]>(Field::TaskName);
    let mut name = [0; NAME_BYTES];
    name[..8].copy_from_slice(&low.to_ne_bytes());
    name[8..].copy_from_slice(&high.to_ne_bytes());
    name
}

/// Inode number of the PID namespace that the process of `leader` lives in.
#[inline(always)]
pub(crate) fn own_namespace(leader: impl Place) -> u32 {
    let pid = leader.follow(Field::TaskPid);
    let level = deepest(pid);
    if level == 0 {
        return INITIAL_PID_NAMESPACE;
    }
    if !is_initial() && map::state(state::LEVEL) == level as u64 + 1 {
        // Of those that are told, this is the agent's own.
        return setting(config::NAMESPACE);
    }
    number_at(pid, level as u64).namespace.read(Field::PidNsInum)
}

/// The agent lives in the initial namespace, where every process has its first number; the verifier knows the answer.
#[inline(always)]
fn is_initial() -> bool {
    setting(config::NAMESPACE) == INITIAL_PID_NAMESPACE
}

#[inline(always)]
fn deepest(pid: impl Place) -> u32 {
    pid.read(Field::PidLevel)
}

/// A process's number in one namespace.
struct Number {
    number: u32,
    namespace: Address,
}

#[inline(always)]
fn number_at(pid: impl Place, level: u64) -> Number {
    let numbers = pid.address().wrapping_add(offset(Field::PidNumbers) as u64);
    let [number, namespace] = read_at::<[u64; 2]>(numbers.wrapping_add((level & DEEPEST) * UPID));
    Number { number: number as u32, namespace }
}
