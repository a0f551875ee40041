//! What a process asks the kernel for and gets, seen as the call returns: by a program at the return of each call where
//! the kernel lets us, or else by one for all calls, which makes every call of the machine somewhat slower.
//!
//! Numbers, files and credentials are the kernel's. A path is what the caller's memory holds when the call returns:
//! another thread could have changed it meanwhile, and the agent says so.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Call, FILENAME_BYTES, PATH_BYTES, call, kind};
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};

use crate::read::{Address, Place, Typed, read_at};
use crate::{exec, map, task, tcp};

/// By the number of a system call, what it is to us; written by the loader.
#[unsafe(no_mangle)]
static CALLS: [u8; call::TABLE] = [0; call::TABLE];
/// The same for those of 32-bit programs.
#[unsafe(no_mangle)]
static COMPAT_CALLS: [u8; call::TABLE] = [0; call::TABLE];

/// The current call came from a 32-bit program (`TS_COMPAT`, arch/x86/include/asm/thread_info.h).
const TS_COMPAT: u32 = 2;
const PTRACE_ATTACH: u64 = 16;
const PTRACE_SEIZE: u64 = 0x4206;
const BPF_PROG_LOAD: u64 = 5;
const AT_FDCWD: i32 = -100;
const EXECUTABLE: u64 = 0o111;

/// `sys_exit(regs, ret)`: every call that returns.
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn calls(context: BtfTracePointContext) -> i32 {
    let regs = Typed::argument(&context, 0);
    let number: u64 = regs.read(Field::RegsSyscall);
    if number >= call::TABLE as u64 {
        return 0;
    }
    let of = |table: *const [u8; call::TABLE]| {
        // SAFETY: below the table's length; volatile, because the loader changes the values after compilation.
        unsafe { core::ptr::read_volatile(table.cast::<u8>().add(number as usize)) }
    };
    let (own, other) = (of(&raw const CALLS), of(&raw const COMPAT_CALLS));
    // Nearly every call ends here.
    if own | other == call::NONE {
        return 0;
    }
    let compat = task::current().read::<u32>(Field::TaskStatus) & TS_COMPAT != 0;
    let call = if compat { other } else { own };
    if call != call::NONE {
        returned(call, compat, regs, context.arg(1));
    }
    0
}

macro_rules! at_return {
    ($($name:ident $function:literal $call:ident $compat:literal;)*) => {$(
        #[doc = concat!("`", $function, "(regs)`")]
        #[fexit(function = $function)]
        pub(crate) fn $name(context: FExitContext) -> i32 {
            // By the helper: the verifier of 5.10 does not know what the argument points to.
            let [regs, result] = read_at::<[u64; 2]>(context.as_ptr() as Address);
            returned(call::$call, $compat, regs, result as i64);
            0
        }
    )*};
}

at_return! {
    memfd_create "__x64_sys_memfd_create" MEMFD false;
    ptrace "__x64_sys_ptrace" PTRACE false;
    process_vm_writev "__x64_sys_process_vm_writev" WRITE_MEMORY false;
    bpf "__x64_sys_bpf" LOAD_PROGRAM false;
    mount "__x64_sys_mount" MOUNT false;
    umount "__x64_sys_umount" UNMOUNT false;
    move_mount "__x64_sys_move_mount" MOVE_MOUNT false;
    pivot_root "__x64_sys_pivot_root" PIVOT_ROOT false;
    unshare "__x64_sys_unshare" UNSHARE false;
    setns "__x64_sys_setns" SETNS false;
    setuid "__x64_sys_setuid" BECOME false;
    setreuid "__x64_sys_setreuid" BECOME false;
    setresuid "__x64_sys_setresuid" BECOME false;
    chmod "__x64_sys_chmod" CHMOD false;
    fchmod "__x64_sys_fchmod" FCHMOD false;
    fchmodat "__x64_sys_fchmodat" FCHMODAT false;
    fchmodat2 "__x64_sys_fchmodat2" FCHMODAT false;
    rename "__x64_sys_rename" RENAME false;
    renameat "__x64_sys_renameat" RENAMEAT false;
    renameat2 "__x64_sys_renameat2" RENAMEAT false;
    unlink "__x64_sys_unlink" UNLINK false;
    unlinkat "__x64_sys_unlinkat" UNLINKAT false;
}

/// The first four arguments of a call.
#[inline(always)]
fn arguments(regs: impl Place, compat: bool) -> [u64; 4] {
    let fields = if compat {
        [Field::RegsBx, Field::RegsCx, Field::RegsThird, Field::RegsSecond]
    } else {
        [Field::RegsFirst, Field::RegsSecond, Field::RegsThird, Field::RegsFourth]
    };
    let [first, second, third, fourth] = fields;
    let mask = if compat { u32::MAX as u64 } else { u64::MAX };
    [
        regs.read::<u64>(first) & mask,
        regs.read::<u64>(second) & mask,
        regs.read::<u64>(third) & mask,
        regs.read::<u64>(fourth) & mask,
    ]
}

#[inline(always)]
fn returned(call: u8, compat: bool, regs: impl Place, result: i64) -> Option<()> {
    if result < 0 {
        return None;
    }
    if call == call::ACCEPT {
        return tcp::record(
            kind::ACCEPT,
            file(result as u64).follow(Field::FilePrivate).follow(Field::SocketSock),
        );
    }
    let arguments = arguments(regs, compat);
    let [first, second, third, fourth] = arguments;
    let current = task::current();
    let uid = current.follow(Field::TaskCred).read::<u32>(Field::CredUid);
    let is_wanted = match call {
        call::PTRACE => first == PTRACE_ATTACH || first == PTRACE_SEIZE,
        call::LOAD_PROGRAM => first == BPF_PROG_LOAD,
        call::BECOME => uid == 0,
        call::CHMOD | call::FCHMOD => second & EXECUTABLE != 0,
        call::FCHMODAT => third & EXECUTABLE != 0,
        _ => true,
    };
    if !is_wanted {
        return None;
    }
    let process = task::process(current)?;
    let header = map::header(kind::CALL, process)?;
    exec::with_draft(kind::CALL, header.time, |draft| {
        let mut body = Call { call: call as u32, compat: compat as u32, uid, ..Call::default() };
        draft.begin_with::<Call>();
        match call {
            call::MEMFD => body.lengths[0] = dentry_name(draft, file(result as u64)),
            call::LOAD_PROGRAM => {
                let aux = file(result as u64).follow(Field::FilePrivate).follow(Field::ProgramAux);
                let program = file(result as u64).follow(Field::FilePrivate);
                body.numbers = [
                    program.read::<u32>(Field::ProgramType) as u64,
                    aux.read::<u32>(Field::ProgramId) as u64,
                ];
                let name = aux.wrapping_add(crate::read::offset(Field::ProgramName) as u64);
                body.lengths[0] = draft.measured(|draft| text(draft, 16, name));
            }
            call::WRITE_MEMORY => body.numbers = [first, result as u64],
            call::PTRACE => body.numbers = [first, second],
            call::MOUNT => {
                body.numbers[0] = fourth;
                paths(draft, &mut body, [AT_FDCWD, AT_FDCWD], [first, second]);
            }
            call::UNMOUNT => {
                body.numbers[0] = second;
                paths(draft, &mut body, [AT_FDCWD, AT_FDCWD], [first, 0]);
            }
            call::PIVOT_ROOT | call::RENAME => {
                paths(draft, &mut body, [AT_FDCWD, AT_FDCWD], [first, second]);
            }
            call::MOVE_MOUNT | call::RENAMEAT => {
                paths(draft, &mut body, [first as i32, third as i32], [second, fourth]);
            }
            call::UNSHARE => body.numbers[0] = first,
            call::SETNS => body.numbers[0] = second,
            call::CHMOD => {
                body.numbers[0] = second;
                paths(draft, &mut body, [AT_FDCWD, AT_FDCWD], [first, 0]);
            }
            call::FCHMOD => {
                body.numbers[0] = second;
                body.lengths[1] = draft.measured(|draft| {
                    draft.path(PATH_BYTES, file(first).read(Field::FilePath));
                });
            }
            call::FCHMODAT => {
                body.numbers[0] = third;
                paths(draft, &mut body, [first as i32, AT_FDCWD], [second, 0]);
            }
            call::UNLINK => paths(draft, &mut body, [AT_FDCWD, AT_FDCWD], [first, 0]),
            call::UNLINKAT => paths(draft, &mut body, [first as i32, AT_FDCWD], [second, 0]),
            _ => {}
        }
        draft.finish(header, body);
    })
}

/// The two paths of a call, as they are in the caller's memory, and which of them starts from a folder of its own.
#[inline(always)]
fn paths(draft: crate::walk::Draft, body: &mut Call, folders: [i32; 2], paths: [Address; 2]) {
    let [first, second] = paths;
    body.lengths[0] = draft.measured(|draft| draft.own_text(FILENAME_BYTES, first));
    if second != 0 {
        body.lengths[2] = draft.measured(|draft| draft.own_text(FILENAME_BYTES, second));
    }
    body.elsewhere = (folders[0] != AT_FDCWD) as u32 | ((folders[1] != AT_FDCWD) as u32) << 1;
}

#[inline(always)]
fn dentry_name(draft: crate::walk::Draft, file: Address) -> u16 {
    let [_, dentry] = file.read::<[u64; 2]>(Field::FilePath);
    draft.measured(|draft| text(draft, FILENAME_BYTES, dentry.follow(Field::DentryName)))
}

/// Appends a kernel string without its NUL.
#[inline(always)]
pub(crate) fn text(draft: crate::walk::Draft, most: usize, source: Address) {
    if draft.text(most, source) > 0 {
        draft.back();
    }
}

/// The file behind descriptor `number` of the current process; 0 when there is none.
#[inline(always)]
fn file(number: u64) -> Address {
    let table = task::current().follow(Field::TaskFiles).follow(Field::FilesTable);
    if number >= table.read::<u32>(Field::TableMost) as u64 {
        return 0;
    }
    read_at(table.follow(Field::TableFiles).wrapping_add(number * 8))
}

/// `io_uring_create(fd, context, submission entries, completion entries, flags)`.
#[btf_tracepoint(function = "io_uring_create")]
pub(crate) fn io_uring(context: BtfTracePointContext) -> i32 {
    told(call::IO_URING, [context.arg::<u32>(4) as u64, context.arg::<u32>(2) as u64], 0);
    0
}

/// `module_load(module)`.
#[btf_tracepoint(function = "module_load")]
pub(crate) fn module(context: BtfTracePointContext) -> i32 {
    let module = Typed::argument(&context, 0).address();
    told(call::LOAD_MODULE, [0; 2], module.wrapping_add(crate::read::offset(Field::ModuleName) as u64));
    0
}

/// What a tracepoint tells of the process that runs now, with a kernel string.
#[inline(always)]
fn told(call: u8, numbers: [u64; 2], name: Address) -> Option<()> {
    let current = task::current();
    let process = task::process(current)?;
    let header = map::header(kind::CALL, process)?;
    exec::with_draft(kind::CALL, header.time, |draft| {
        let uid = current.follow(Field::TaskCred).read(Field::CredUid);
        let mut body = Call { call: call as u32, numbers, uid, ..Call::default() };
        draft.begin_with::<Call>();
        if name != 0 {
            body.lengths[0] = draft.measured(|draft| text(draft, FILENAME_BYTES, name));
        }
        draft.finish(header, body);
    })
}
