//! The maps, and the one way into the ring.

use afterimage_ebpf::{Count, Header, Process, RING_BYTES, config, kind, state};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, generated};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};

use crate::read::setting;

/// The way to the agent.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// By kind: what was attempted and what was lost on this cpu; one more row for [`kind::HOLD`].
#[map]
static COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(kind::COUNT + 1, 0);

/// The next record's number on this cpu.
#[map]
static SEQUENCE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// By [`state`]: words between agent and probe.
#[map]
static STATE: Array<u64> = Array::with_max_entries(state::COUNT, 0);

/// A header for a record about `process`, numbered and counted as attempted.
///
/// No fetching atomics in 5.10: an interrupt that comes between reading and writing the number writes its own record
/// whole, and gives it the same number; the agent counts records as well as numbers.
#[inline(always)]
pub(crate) fn header(kind: u32, process: Process) -> Option<Header> {
    let count = COUNTS.get_ptr_mut(kind)?;
    let sequence = SEQUENCE.get_ptr_mut(0)?;
    // SAFETY: map values of this cpu; nobody else writes them but an interrupt on it.
    let seq = unsafe {
        (*count).attempted += 1;
        let seq = *sequence;
        *sequence = seq + 1;
        seq
    };
    // SAFETY: takes no arguments.
    let (cpu, time) = unsafe { (bpf_get_smp_processor_id() as u32, generated::bpf_ktime_get_boot_ns()) };
    Some(Header { kind, cpu, seq, time, process })
}

/// Hands `size` bytes at `record` to the agent, at once when it is `urgent`, or counts the loss; whether it is in the ring.
#[inline(always)]
pub(crate) fn submit(kind: u32, record: *const u8, size: u64, urgent: bool) -> bool {
    let wake_up = if urgent { BPF_RB_FORCE_WAKEUP as u64 } else { wake_up() };
    // SAFETY: the caller owns `size` bytes at `record`; the verifier checks it.
    let failed = unsafe { generated::bpf_ringbuf_output(ring(), record as *mut _, size, wake_up) };
    if failed != 0 {
        count(kind, |count| count.full += 1);
    }
    failed == 0
}

/// Changes the counters of one kind on this cpu.
#[inline(always)]
pub(crate) fn count(kind: u32, change: impl FnOnce(&mut Count)) {
    if let Some(count) = COUNTS.get_ptr_mut(kind) {
        // SAFETY: a map value of this cpu; nobody else writes it but an interrupt on it.
        change(unsafe { &mut *count });
    }
}

/// A word between agent and probe.
#[inline(always)]
pub(crate) fn state(index: u32) -> u64 {
    // SAFETY: a map value; a plain load of a word, volatile because others write it.
    STATE.get_ptr(index).map_or(0, |place| unsafe { core::ptr::read_volatile(place) })
}

/// Changes it.
#[inline(always)]
pub(crate) fn tell(index: u32, value: u64) {
    if let Some(place) = STATE.get_ptr_mut(index) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(place, value) };
    }
}

#[inline(always)]
fn wake_up() -> u64 {
    if state(state::IDLE) != 0 || RING.query(BPF_RB_AVAIL_DATA as u64) > setting(config::PRESSING) as u64 {
        BPF_RB_FORCE_WAKEUP as u64
    } else {
        BPF_RB_NO_WAKEUP as u64
    }
}

#[inline(always)]
fn ring() -> *mut aya_ebpf::cty::c_void {
    (&raw const RING).cast_mut().cast()
}
