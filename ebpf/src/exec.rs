//! A program as it is started, read after the kernel has set up its new memory and before its first instruction.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{ARGS_BYTES, CGROUP_BYTES, Exec, FILENAME_BYTES, NONE, PATH_BYTES, flag, kind};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;

use crate::read::{Place, Typed, exists};
use crate::walk::{Draft, Scratch};
use crate::{hold, map, task};

/// Records that may be under construction on one cpu.
const SLOTS: u32 = 4;

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

/// Cgroups whose path was told; the one that was not used for longest is forgotten, and would be told again.
#[map]
static TOLD: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1024, 0);

/// The one that was asked for last, and was told.
#[map]
static LAST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The lower bits of an inode's nanoseconds; the highest may say that somebody asked for them (since 6.13).
const NANOSECONDS: u32 = 0x3fff_ffff;

/// `sched_process_exec(task, old_pid, bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn exec(context: BtfTracePointContext) -> i32 {
    let program = Typed::argument(&context, 0);
    task::learn_level(program);
    record(program, Typed::argument(&context, 2));
    0
}

/// Builds a record that is too large for the stack, and submits it.
#[inline(always)]
pub(crate) fn with_draft(kind: u32, time: u64, build: impl FnOnce(Draft)) -> Option<()> {
    let draft = draft(kind, time)?;
    build(draft.0);
    draft.submit(kind, false);
    Some(())
}

#[inline(always)]
fn record(program: Typed, bprm: Typed) -> Option<()> {
    let process = task::process(program)?;
    let header = map::header(kind::EXEC, process)?;
    let taken = draft(kind::EXEC, header.time)?;
    let draft = taken.0;
    // SAFETY: a map value of this cpu; the fixed part is at the beginning of the buffer.
    let (untold, held) = unsafe {
        (*draft.record()).header = header;
        let body = &mut (*draft.record()).body;
        facts(body, program);
        let untold = texts(body, draft, program, bprm);
        // Stopped before it is told: the other order can leave it stopped for ever.
        let held = body.links == 0 && hold::hold(program, process, &mut body.flags);
        (untold, held)
    };
    let told = taken.submit(kind::EXEC, held);
    if held && !told {
        // Nobody will know that it waits.
        hold::let_go(process);
    }
    if told && untold != 0 {
        // A failure only means that the path is told again.
        let _told_again = TOLD.insert(&untold, &1, 0);
    }
    Some(())
}

/// A place to build a record in, ours until it is submitted; the time of the record is the token.
struct Taken(Draft, u64);

/// An interrupt, or with a preemptible kernel another task, can come in while a record is built: there is a place for
/// each, up to [`SLOTS`].
#[inline(always)]
fn draft(kind: u32, token: u64) -> Option<Taken> {
    let mut slot = 0;
    while slot < SLOTS {
        let scratch = SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: a map value of this cpu.
        unsafe {
            if core::ptr::read_volatile(&raw const (*scratch).owner) == 0 {
                core::ptr::write_volatile(&raw mut (*scratch).owner, token);
                return Some(Taken(Draft(scratch), token));
            }
        }
        slot += 1;
    }
    map::count(kind, |count| count.nested += 1);
    None
}

impl Taken {
    /// Hands the record over and gives the place back; whether it is in the ring. Without fetching atomics (5.10) two may
    /// take the same place at the same instant: whoever is no longer its owner counts the loss.
    #[inline(always)]
    fn submit(self, kind: u32, urgent: bool) -> bool {
        let Self(draft, token) = self;
        // SAFETY: as above.
        unsafe {
            if core::ptr::read_volatile(&raw const (*draft.0).owner) != token {
                map::count(kind, |count| count.nested += 1);
                return false;
            }
        }
        let told = map::submit(kind, draft.0.cast(), draft.size(), urgent);
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*draft.0).owner, 0) };
        told
    }
}

/// What is read from fixed places.
#[inline(always)]
fn facts(body: &mut Exec, program: Typed) {
    let cred = program.follow(Field::TaskCred);
    let inode = program.follow(Field::TaskMm).follow(Field::MmExeFile).follow(Field::FileInode);
    let namespaces = program.follow(Field::TaskNsproxy);
    body.parent = task::process(program.follow(Field::TaskParent)).unwrap_or(task::NOBODY);
    body.inode = inode.read(Field::InodeNumber);
    body.changed = inode.read(Field::InodeChanged);
    body.changed_ns = NONE;
    if exists(Field::InodeChangedNs) {
        body.changed_ns = inode.read::<u32>(Field::InodeChangedNs) & NANOSECONDS;
    }
    body.device = inode.follow(Field::InodeSuper).read(Field::SuperDevice);
    body.links = if exists(Field::InodeLinks) { inode.read(Field::InodeLinks) } else { NONE };
    body.uid = cred.read(Field::CredUid);
    body.real_uid = if exists(Field::CredRealUid) { cred.read(Field::CredRealUid) } else { NONE };
    body.gid = cred.read(Field::CredGid);
    body.login_uid = if exists(Field::TaskLoginUid) { program.read(Field::TaskLoginUid) } else { NONE };
    body.ns_pid = task::own_namespace(program.follow(Field::TaskLeader));
    body.ns_mnt = namespaces.follow(Field::NsproxyMnt).read(Field::MntNsInum);
    body.ns_net = namespaces.follow(Field::NsproxyNet).read(Field::NetNsInum);
    body.ns_user = cred.follow(Field::CredUserNs).read(Field::UserNsInum);
    body.flags = 0;
    body.zero = [0; 3];
    body.name = task::name(program);
}

/// What is of any length, one behind the other; the id of a cgroup whose path is among it, or 0.
#[inline(always)]
fn texts(body: &mut Exec, draft: Draft, program: Typed, bprm: Typed) -> u64 {
    draft.begin();
    let before = draft.size();
    if draft.text(FILENAME_BYTES, bprm.follow(Field::BprmFilename).address()) > 0 {
        draft.back();
    }
    body.filename_len = (draft.size() - before) as u16;

    let before = draft.size();
    let memory = program.follow(Field::TaskMm);
    if !arguments(draft, memory) {
        body.flags |= flag::ARGS_CUT;
    }
    body.args_len = (draft.size() - before) as u16;

    let before = draft.size();
    let file = memory.follow(Field::MmExeFile).address();
    if !draft.path(PATH_BYTES, file.read(Field::FilePath)) {
        body.flags |= flag::EXECUTABLE_CUT;
    }
    body.executable_len = (draft.size() - before) as u16;

    let before = draft.size();
    let fs = program.follow(Field::TaskFs).address();
    if !draft.path(PATH_BYTES, fs.read(Field::FsPwd)) {
        body.flags |= flag::DIRECTORY_CUT;
    }
    body.directory_len = (draft.size() - before) as u16;
    cgroup(body, draft, program)
}

/// Whether an earlier record told this cgroup's path. Mostly it is the one that was asked for last on this cpu.
#[inline(always)]
fn was_told(id: u64) -> bool {
    let last = LAST.get_ptr_mut(0);
    // SAFETY: a map value of this cpu.
    if last.is_some_and(|last| unsafe { core::ptr::read_volatile(last) } == id) {
        return true;
    }
    let told = TOLD.get_ptr(id).is_some();
    if let Some(last) = last.filter(|_| told) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(last, id) };
    }
    told
}

/// Appends the path of the program's cgroup, unless it was told before; its id if so, or 0.
#[inline(always)]
fn cgroup(body: &mut Exec, draft: Draft, program: Typed) -> u64 {
    let node = program.follow(Field::TaskCgroups).follow(Field::CssSetDefault).follow(Field::CgroupNode);
    body.cgroup = node.read(Field::NodeId);
    let before = draft.size();
    if body.cgroup != 0 && was_told(body.cgroup) {
        body.flags |= flag::CGROUP_TOLD;
    } else if !draft.cgroup(CGROUP_BYTES, node.address()) {
        body.flags |= flag::CGROUP_CUT;
    }
    body.cgroup_len = (draft.size() - before) as u16;
    if body.flags & (flag::CGROUP_TOLD | flag::CGROUP_CUT) == 0 { body.cgroup } else { 0 }
}

/// Copies the new program's argument area, which the kernel has just written and no other thread can change yet; whether
/// it is whole.
#[inline(always)]
fn arguments(draft: Draft, memory: Typed) -> bool {
    let start: u64 = memory.read(Field::MmArgStart);
    let length = memory.read::<u64>(Field::MmArgEnd).wrapping_sub(start);
    let taken = if length > ARGS_BYTES as u64 { ARGS_BYTES as u64 } else { length };
    draft.own_memory(taken, start) && taken == length
}
