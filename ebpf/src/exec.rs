//! A program as it is started, read after the kernel has set up its new memory and before its first instruction.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{ARGS_BYTES, CGROUP_BYTES, Exec, FILENAME_BYTES, NONE, PATH_BYTES, cut, kind};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::RawTracePointContext;

use crate::read::{Address, exists, follow, read};
use crate::walk::{Draft, Scratch};
use crate::{map, task};

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// `sched_process_exec(task, old_pid, bprm)`.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn exec(context: RawTracePointContext) -> i32 {
    let program: Address = context.arg(0);
    task::learn_level(program);
    record(program, context.arg(2));
    0
}

#[inline(always)]
fn record(program: Address, bprm: Address) -> Option<()> {
    let process = task::process(program)?;
    let header = map::header(kind::EXEC, process)?;
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: a map value of this cpu.
    if unsafe { (*scratch).busy } != 0 {
        map::nested(kind::EXEC);
        return None;
    }
    let draft = Draft(scratch);
    // SAFETY: as above; the fixed part is at the beginning of the buffer.
    unsafe {
        (*scratch).busy = 1;
        (*draft.record()).header = header;
        let body = &mut (*draft.record()).body;
        facts(body, program);
        texts(body, draft, program, bprm);
    }
    map::submit(kind::EXEC, scratch.cast(), draft.size());
    // SAFETY: as above.
    unsafe { (*scratch).busy = 0 };
    Some(())
}

/// What is read from fixed places.
#[inline(always)]
fn facts(body: &mut Exec, program: Address) {
    let cred = follow(program, Field::TaskCred);
    let inode = follow(follow(follow(program, Field::TaskMm), Field::MmExeFile), Field::FileInode);
    let namespaces = follow(program, Field::TaskNsproxy);
    body.parent = task::process(follow(program, Field::TaskParent)).unwrap_or(task::NOBODY);
    body.inode = read(inode, Field::InodeNumber);
    body.device = read(follow(inode, Field::InodeSuper), Field::SuperDevice);
    body.links = if exists(Field::InodeLinks) { read(inode, Field::InodeLinks) } else { NONE };
    body.uid = read(cred, Field::CredUid);
    body.gid = read(cred, Field::CredGid);
    body.login_uid = if exists(Field::TaskLoginUid) { read(program, Field::TaskLoginUid) } else { NONE };
    body.ns_pid = task::own_namespace(follow(program, Field::TaskLeader));
    body.ns_mnt = read(follow(namespaces, Field::NsproxyMnt), Field::MntNsInum);
    body.ns_net = read(follow(namespaces, Field::NsproxyNet), Field::NetNsInum);
    body.ns_user = read(follow(cred, Field::CredUserNs), Field::UserNsInum);
    body.cut = 0;
    body.zero = [0; 3];
    body.name = read(program, Field::TaskName);
}

/// What is of any length, one behind the other.
#[inline(always)]
fn texts(body: &mut Exec, draft: Draft, program: Address, bprm: Address) {
    draft.begin();
    let before = draft.size();
    if draft.text(FILENAME_BYTES, follow(bprm, Field::BprmFilename)) > 0 {
        draft.back();
    }
    body.filename_len = (draft.size() - before) as u16;

    let before = draft.size();
    let memory = follow(program, Field::TaskMm);
    if !arguments(draft, memory) {
        body.cut |= cut::ARGS;
    }
    body.args_len = (draft.size() - before) as u16;

    let before = draft.size();
    let file = follow(memory, Field::MmExeFile);
    if !draft.path(PATH_BYTES, follow(file, Field::FileMnt), follow(file, Field::FileDentry)) {
        body.cut |= cut::EXECUTABLE;
    }
    body.executable_len = (draft.size() - before) as u16;

    let before = draft.size();
    let fs = follow(program, Field::TaskFs);
    if !draft.path(PATH_BYTES, follow(fs, Field::FsPwdMnt), follow(fs, Field::FsPwdDentry)) {
        body.cut |= cut::DIRECTORY;
    }
    body.directory_len = (draft.size() - before) as u16;

    let before = draft.size();
    let set = follow(program, Field::TaskCgroups);
    if !draft.cgroup(CGROUP_BYTES, follow(follow(set, Field::CssSetDefault), Field::CgroupNode)) {
        body.cut |= cut::CGROUP;
    }
    body.cgroup_len = (draft.size() - before) as u16;
}

/// Copies the new program's argument area, which the kernel has just written and no other thread can change yet; whether
/// it is whole.
#[inline(always)]
fn arguments(draft: Draft, memory: Address) -> bool {
    let (start, end) = (follow(memory, Field::MmArgStart), follow(memory, Field::MmArgEnd));
    let length = end.wrapping_sub(start);
    let taken = if length > ARGS_BYTES as u64 { ARGS_BYTES as u64 } else { length };
    draft.own_memory(taken, start) && taken == length
}
