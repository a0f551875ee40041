//! The door's prison: no privilege, no files, no new connections, few system calls.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use serde::Serialize;

/// What of the prison is in force; part of the recorder's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prison {
    /// Whom it runs as.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Whether the capability bounding set is empty (a container may not let us; nothing can be executed anyway).
    pub bounding_set_empty: bool,
    /// Landlock: no file can be opened, in words.
    pub landlock: String,
    /// Whether the filter of system calls is in force.
    pub seccomp: bool,
}

/// Why the prison cannot be entered. The door does not open then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {step} for the door: {errno}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        errno: Errno,
    },
    /// root was given up, and could be taken back.
    #[error("the door could become root again after it had given it up")]
    StillRoot,
    /// The door was asked to run as root.
    #[error("the door never runs as root: set `door.user` to another user")]
    Root,
    /// Landlock refused the rules.
    #[error("cannot close the file system for the door: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The filter could not be built or set.
    #[error("cannot filter the door's system calls: {0}")]
    Seccomp(String),
}

/// Enters, for ever: this thread, and all that it starts. `user` is (uid, gid); without root, the user stays.
pub fn enter((uid, gid): (u32, u32)) -> Result<Prison, Error> {
    limit_resources()?;
    let root = geteuid().is_root();
    let bounding_set_empty = root && empty_bounding_set();
    if root {
        become_user(uid, gid)?;
    }
    // Becoming another user had cleared it: the door must not outlive the recorder.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie the life to the recorder's"))?;
    prctl::set_dumpable(false).map_err(step("forbid core dumps and tracing"))?;
    prctl::set_no_new_privs().map_err(step("forbid new privileges"))?;
    let landlock = close_file_system()?;
    filter_system_calls()?;
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    Ok(Prison { uid, gid, bounding_set_empty, landlock, seccomp: true })
}

fn limit_resources() -> Result<(), Error> {
    let bounds = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_NOFILE, 1024),
        (Resource::RLIMIT_AS, 2 << 30),
    ];
    for (resource, bound) in bounds {
        let (_, hard) = getrlimit(resource).map_err(step("read a resource limit"))?;
        let bound = bound.min(hard);
        setrlimit(resource, bound, bound).map_err(step("set a resource limit"))?;
    }
    Ok(())
}

fn empty_bounding_set() -> bool {
    /// More than there are (41 in Linux 6.18); the first number the kernel does not know ends it.
    const CAPABILITIES: libc::c_ulong = 64;
    for capability in 0..CAPABILITIES {
        #[expect(unsafe_code, reason = "nix has no call for it")]
        // SAFETY: plain numbers; the kernel answers EINVAL for one it does not know.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if result != 0 {
            return Errno::last() == Errno::EINVAL && capability > 0;
        }
    }
    true
}

fn become_user(uid: u32, gid: u32) -> Result<(), Error> {
    if uid == 0 || gid == 0 {
        return Err(Error::Root);
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(step("leave all groups"))?;
    setresgid(group, group, group).map_err(step("change the group"))?;
    setresuid(user, user, user).map_err(step("change the user"))?;
    // The kernel drops the capabilities with the last uid 0, unless somebody told it not to.
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(Error::StillRoot);
    }
    Ok(())
}

/// Handles every right there is and grants none.
fn close_file_system() -> Result<String, Error> {
    const NEWEST: ABI = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => format!("{effective_abi:?}"),
        LandlockStatus::NotEnabled => return Ok("not enabled when this kernel was booted".to_owned()),
        LandlockStatus::NotImplemented => return Ok("not in this kernel (5.13 and later have it)".to_owned()),
    };
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => format!("files, TCP and signals closed ({version})"),
        RulesetStatus::PartiallyEnforced => format!("as far as this kernel can ({version})"),
        RulesetStatus::NotEnforced => format!("not in force ({version})"),
    })
}

fn filter_system_calls() -> Result<(), Error> {
    // Nothing of ours would ever try these: whoever does is an intruder.
    let deadly = DEADLY.iter().map(|&call| (call, Vec::new())).collect();
    install(deadly, SeccompAction::Allow, SeccompAction::KillProcess)?;
    // glibc asks for threads with clone3, whose arguments no filter can see, and takes clone when there is none.
    let absent = [(libc::SYS_clone3, Vec::new())].into();
    install(absent, SeccompAction::Allow, SeccompAction::Errno(number(libc::ENOSYS)))?;
    // Last, because it does not allow to set a filter.
    install(allowed()?, SeccompAction::Errno(number(libc::EPERM)), SeccompAction::Allow)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn install(rules: Rules, otherwise: SeccompAction, on_match: SeccompAction) -> Result<(), Error> {
    let build = || -> Result<BpfProgram, seccompiler::BackendError> {
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, otherwise, on_match, arch)?.try_into()
    };
    let program = build().map_err(|error| Error::Seccomp(error.to_string()))?;
    apply_filter(&program).map_err(|error| Error::Seccomp(error.to_string()))
}

const DEADLY: [i64; 14] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_mount,
    libc::SYS_pivot_root,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_userfaultfd,
];

/// What memory, threads, timers and already open sockets need.
const ALLOWED: &[i64] = &[
    // Sockets and files that are open already.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Memory; with conditions: mmap, mprotect.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads; with conditions: clone, prctl.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getrandom,
    // Answered by a filter of its own.
    libc::SYS_clone3,
];

fn allowed() -> Result<Rules, Error> {
    let mut rules: Rules = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    let threads = libc::CLONE_THREAD | libc::CLONE_VM;
    for (call, argument, mask, value) in [
        (libc::SYS_mmap, 2, libc::PROT_EXEC, 0),
        (libc::SYS_mprotect, 2, libc::PROT_EXEC, 0),
        (libc::SYS_clone, 0, threads, threads),
        (libc::SYS_prctl, 0, -1, libc::PR_SET_NAME),
    ] {
        let (mask, value) = (u64::from(mask.cast_unsigned()), u64::from(value.cast_unsigned()));
        rules.insert(call, vec![only(argument, SeccompCmpOp::MaskedEq(mask), value)?]);
    }
    // Making a socket non-blocking, the standard library's way.
    rules.insert(libc::SYS_ioctl, vec![only(1, SeccompCmpOp::Eq, libc::FIONBIO)?]);
    Ok(rules)
}

fn only(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|error| Error::Seccomp(error.to_string()))
}

fn number(errno: i32) -> u32 {
    errno.cast_unsigned()
}

fn step(step: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Step { step, errno }
}
