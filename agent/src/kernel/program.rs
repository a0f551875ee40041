//! The programs of the probe: where each is attached, and what stands in for it where the kernel refuses.

use afterimage_ebpf::field::Group;
use aya::Ebpf;
use aya::programs::{BtfTracePoint, FExit};

use super::btf::Btf;
use super::layout::Layout;
use super::report::{Fate, ProgramReport};

/// A program of the object.
pub(super) struct Program {
    pub(super) name: &'static str,
    shows: &'static str,
    hook: Hook,
    needs: &'static [Group],
    /// The program that is attached in its place when this one cannot be.
    instead: Option<&'static str>,
}

enum Hook {
    /// A tracepoint, whose arguments' types the verifier knows.
    Tracepoint(&'static str),
    /// The return of a kernel function that takes this many parameters; they decide where the probe finds the result.
    Return(&'static str, u32),
}

const fn program(name: &'static str, shows: &'static str, hook: Hook, needs: &'static [Group]) -> Program {
    Program { name, shows, hook, needs, instead: None }
}

/// What the kernel calls when a connection is accepted; two parameters since 6.10, four before.
const ACCEPT: &str = "inet_csk_accept";

/// Each before its substitute.
pub(super) const PROGRAMS: [Program; 9] = [
    program("exec", "programs executed", Hook::Tracepoint("sched_process_exec"), &[Group::Core, Group::Exec]),
    program("fork", "processes created", Hook::Tracepoint("sched_process_fork"), &[Group::Core]),
    program("exit", "processes ended", Hook::Tracepoint("sched_process_exit"), &[Group::Core, Group::Exit]),
    program(
        "tcp",
        "TCP connections asked for and sockets that listen",
        Hook::Tracepoint("inet_sock_set_state"),
        &[Group::Core, Group::Tcp],
    ),
    Program {
        instead: Some("accepted4"),
        ..program(
            "accepted2",
            "TCP connections accepted",
            Hook::Return(ACCEPT, 2),
            &[Group::Core, Group::Tcp],
        )
    },
    Program {
        instead: Some("accept"),
        ..program(
            "accepted4",
            "TCP connections accepted",
            Hook::Return(ACCEPT, 4),
            &[Group::Core, Group::Tcp],
        )
    },
    program(
        "accept",
        "TCP connections accepted (except through io_uring)",
        Hook::Tracepoint("sys_exit"),
        &[Group::Core, Group::Tcp, Group::Syscall],
    ),
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
];

/// Loads and attaches every program that is needed and that the kernel allows.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    layout: &Layout,
    btf: &Btf<'_>,
    types: &aya::Btf,
) -> Vec<ProgramReport> {
    let mut reports: Vec<ProgramReport> = Vec::new();
    for program in &PROGRAMS {
        let unneeded = |report: &ProgramReport| {
            report.instead == Some(program.name) && matches!(report.fate, Fate::Attached | Fate::Unneeded)
        };
        let fate = if reports.iter().any(unneeded) {
            Fate::Unneeded
        } else if let Some(reason) = layout.refused(program.needs).first() {
            Fate::Missing(reason.clone())
        } else {
            attach(ebpf, program, btf, types).map_or_else(Fate::Missing, |()| Fate::Attached)
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

fn attach(ebpf: &mut Ebpf, program: &Program, btf: &Btf<'_>, types: &aya::Btf) -> Result<(), String> {
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
            loaded.attach().map_err(words)?;
        }
    }
    Ok(())
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
fn words(error: impl std::error::Error) -> String {
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
