//! The programs of the probe: where each is attached, and what stands in for it where the kernel refuses.

use std::os::fd::{AsFd, OwnedFd};

use afterimage_ebpf::field::Group;
use aya::Ebpf;
use aya::programs::{BtfTracePoint, FExit};

use super::btf::Btf;
use super::layout::Layout;
use super::report::{Fate, ProgramReport};

/// Which programs somebody may do without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    /// What processes ask for.
    pub(super) calls: bool,
    /// Questions to name servers.
    pub(super) questions: bool,
    /// Whether the kernel takes programs at the return of its functions.
    pub(super) returns: bool,
}

/// A program of the object.
pub(super) struct Program {
    pub(super) name: &'static str,
    shows: &'static str,
    hook: Hook,
    needs: &'static [Group],
    /// The program that is attached in its place when this one cannot be.
    instead: Option<&'static str>,
    when: When,
}

/// On which kernels a program is for use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Where programs at the return of a kernel function are allowed.
    Returns,
    /// Where they are not.
    Calls,
}

enum Hook {
    /// A tracepoint, whose arguments' types the verifier knows.
    Tracepoint(&'static str),
    /// The return of a kernel function that takes this many parameters; they decide where the probe finds the result.
    Return(&'static str, u32),
}

const fn program(name: &'static str, shows: &'static str, hook: Hook, needs: &'static [Group]) -> Program {
    Program { name, shows, hook, needs, instead: None, when: When::Always }
}

/// A program at the return of a system call.
const fn call(name: &'static str, function: &'static str, shows: &'static str) -> Program {
    let needs = &[Group::Core, Group::Exec, Group::Call];
    Program { when: When::Returns, ..program(name, shows, Hook::Return(function, 1), needs) }
}

/// What the kernel calls when a connection is accepted; two parameters since 6.10, four before.
const ACCEPT: &str = "inet_csk_accept";

/// Each before its substitute.
pub(super) const PROGRAMS: [Program; 34] = [
    program("exec", "programs executed", Hook::Tracepoint("sched_process_exec"), &[Group::Core, Group::Exec]),
    program("fork", "processes created", Hook::Tracepoint("sched_process_fork"), &[Group::Core]),
    program("exit", "processes ended", Hook::Tracepoint("sched_process_exit"), &[Group::Core, Group::Exit]),
    program(
        "tcp",
        "TCP connections asked for and ended, and sockets that listen",
        Hook::Tracepoint("inet_sock_set_state"),
        &[Group::Core, Group::Tcp],
    ),
    Program {
        instead: Some("accepted4"),
        when: When::Returns,
        ..program(
            "accepted2",
            "TCP connections accepted",
            Hook::Return(ACCEPT, 2),
            &[Group::Core, Group::Tcp],
        )
    },
    Program {
        when: When::Returns,
        ..program(
            "accepted4",
            "TCP connections accepted",
            Hook::Return(ACCEPT, 4),
            &[Group::Core, Group::Tcp],
        )
    },
    program(
        "udp4",
        "UDP over IPv4 to new peers",
        Hook::Tracepoint("fib_table_lookup"),
        &[Group::Core, Group::Udp4],
    ),
    program(
        "udp6",
        "UDP over IPv6 to new peers",
        Hook::Tracepoint("fib6_table_lookup"),
        &[Group::Core, Group::Udp6],
    ),
    program(
        "question",
        "questions to name servers",
        Hook::Tracepoint("net_dev_queue"),
        &[Group::Core, Group::Question],
    ),
    program(
        "module",
        "kernel modules loaded",
        Hook::Tracepoint("module_load"),
        &[Group::Core, Group::Exec, Group::Module],
    ),
    program("io_uring", "io_uring set up", Hook::Tracepoint("io_uring_create"), &[Group::Core, Group::Exec]),
    Program {
        when: When::Calls,
        ..program(
            "calls",
            "TCP connections accepted, and what processes ask for (not through io_uring)",
            Hook::Tracepoint("sys_exit"),
            &[Group::Core, Group::Exec, Group::Tcp, Group::Call],
        )
    },
    call("memfd_create", "__x64_sys_memfd_create", "files in memory"),
    call("ptrace", "__x64_sys_ptrace", "processes traced"),
    call("process_vm_writev", "__x64_sys_process_vm_writev", "memory of others written"),
    call("bpf", "__x64_sys_bpf", "BPF programs loaded"),
    call("mount", "__x64_sys_mount", "mounts"),
    call("umount", "__x64_sys_umount", "mounts taken off"),
    call("move_mount", "__x64_sys_move_mount", "mounts moved"),
    call("pivot_root", "__x64_sys_pivot_root", "roots changed"),
    call("unshare", "__x64_sys_unshare", "namespaces made"),
    call("setns", "__x64_sys_setns", "namespaces entered"),
    call("setuid", "__x64_sys_setuid", "users that become root (setuid)"),
    call("setreuid", "__x64_sys_setreuid", "users that become root (setreuid)"),
    call("setresuid", "__x64_sys_setresuid", "users that become root (setresuid)"),
    call("chmod", "__x64_sys_chmod", "files made executable (chmod)"),
    call("fchmod", "__x64_sys_fchmod", "files made executable (fchmod)"),
    call("fchmodat", "__x64_sys_fchmodat", "files made executable (fchmodat)"),
    call("fchmodat2", "__x64_sys_fchmodat2", "files made executable (fchmodat2)"),
    call("rename", "__x64_sys_rename", "files renamed (rename)"),
    call("renameat", "__x64_sys_renameat", "files renamed (renameat)"),
    call("renameat2", "__x64_sys_renameat2", "files renamed (renameat2)"),
    call("unlink", "__x64_sys_unlink", "files deleted (unlink)"),
    call("unlinkat", "__x64_sys_unlinkat", "files deleted (unlinkat)"),
];

impl Program {
    /// Why it is not even tried; `None` when it is.
    fn left_out(&self, wishes: Wishes, btf: &Btf<'_>) -> Option<Fate> {
        let is_there = match self.hook {
            Hook::Tracepoint(tracepoint) => btf.has_tracepoint(tracepoint),
            Hook::Return(function, _) => btf.function(function).is_ok(),
        };
        let optional = self.needs.contains(&Group::Call) || matches!(self.name, "module" | "io_uring");
        match self.when {
            When::Returns if !wishes.returns => Some(Fate::Unneeded),
            When::Calls if wishes.returns => Some(Fate::Unneeded),
            // What is no part of this kernel cannot happen there.
            _ if optional && !is_there => Some(Fate::Unneeded),
            When::Returns if optional && !wishes.calls => {
                Some(Fate::Missing("switched off: probe.calls".to_owned()))
            }
            _ if self.name == "question" && !wishes.questions => {
                Some(Fate::Missing("switched off: probe.questions".to_owned()))
            }
            _ => None,
        }
    }
}

/// Loads and attaches every program that is needed and that the kernel allows.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    layout: &Layout,
    btf: &Btf<'_>,
    types: &aya::Btf,
    wishes: Wishes,
) -> Vec<ProgramReport> {
    let mut reports: Vec<ProgramReport> = Vec::new();
    for program in &PROGRAMS {
        let unneeded = |report: &ProgramReport| {
            report.instead == Some(program.name) && matches!(report.fate, Fate::Attached | Fate::Unneeded)
        };
        let fate = if reports.iter().any(unneeded) {
            Fate::Unneeded
        } else if let Some(fate) = program.left_out(wishes, btf) {
            fate
        } else if let Some(reason) = layout.refused(program.needs).first() {
            Fate::Missing(reason.clone())
        } else {
            attach(ebpf, program, btf, types).unwrap_or_else(Fate::Missing)
        };
        let Program { name, shows, ref hook, instead, .. } = *program;
        let hook = match hook {
            Hook::Tracepoint(tracepoint) => tracepoint,
            Hook::Return(function, _) => function,
        };
        let id = id(ebpf, name);
        reports.push(ProgramReport { name, shows, hook, instead, fate, id, self_check: None });
    }
    reports
}

/// The number of a loaded program.
fn id(ebpf: &Ebpf, name: &str) -> Option<u32> {
    ebpf.program(name)?.info().ok().map(|info| info.id())
}

fn attach(ebpf: &mut Ebpf, program: &Program, btf: &Btf<'_>, types: &aya::Btf) -> Result<Fate, String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the probe's object")?;
    match program.hook {
        Hook::Tracepoint(tracepoint) => {
            let loaded: &mut BtfTracePoint = loaded.try_into().map_err(words)?;
            loaded.load(tracepoint, types).map_err(words)?;
            loaded.attach().map_err(words)?;
        }
        Hook::Return(function, parameters) => {
            let has = btf.parameters(function).map_err(words)?;
            if has != parameters {
                return Err(format!("`{function}` has {has} parameters on this kernel, not {parameters}"));
            }
            let loaded: &mut FExit = loaded.try_into().map_err(words)?;
            loaded.load(function, types).map_err(words)?;
            if program.needs.contains(&Group::Call) {
                return Ok(Fate::Attaching);
            }
            loaded.attach().map_err(words)?;
        }
    }
    Ok(Fate::Attached)
}

/// The programs that are loaded and wait to be attached.
pub(super) fn waiting(ebpf: &Ebpf, reports: &[ProgramReport]) -> Vec<(&'static str, OwnedFd)> {
    let loaded = |report: &ProgramReport| {
        let program = ebpf.program(report.name)?.fd().ok()?;
        Some((report.name, program.as_fd().try_clone_to_owned().ok()?))
    };
    reports.iter().filter(|report| report.fate == Fate::Attaching).filter_map(loaded).collect()
}

/// Takes a program off.
pub(super) fn detach(ebpf: &mut Ebpf, name: &str) {
    let result = match ebpf.program_mut(name) {
        Some(aya::programs::Program::BtfTracePoint(program)) => program.unload(),
        Some(aya::programs::Program::FExit(program)) => program.unload(),
        _ => Ok(()),
    };
    if let Err(error) = result {
        tracing::error!(%error, name, "a program that disagrees with /proc could not be taken off");
    }
}

/// Most characters of a reason: the verifier's log can be as long as a book, and its end says why.
const LONGEST: usize = 600;

/// The error and what caused it, the end of it.
pub(super) fn words(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let cut = text.chars().count().saturating_sub(LONGEST);
    if cut == 0 { text } else { std::iter::once('…').chain(text.chars().skip(cut)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_substitute_comes_after_what_it_stands_in_for() {
        for (index, program) in PROGRAMS.iter().enumerate() {
            let later = PROGRAMS.iter().skip(index + 1).map(|program| program.name);
            assert!(program.instead.is_none_or(|name| later.into_iter().any(|other| other == name)));
        }
    }

    #[test]
    fn a_long_reason_keeps_its_end() {
        let text = words(std::io::Error::other(format!("{}the end", "é".repeat(5000))));
        assert!(text.chars().count() == LONGEST + 1 && text.ends_with("the end"));
    }
}
