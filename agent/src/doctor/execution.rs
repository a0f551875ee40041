//! How executables get into the stash. Pure.

use super::host::Findings;
use super::judge::check;
use super::{Check, Verdict};

const NAME: &str = "gate";
const NO_GATE: &str = "executables are opened by /proc after they have started: those of processes that live for a moment \
                       and delete themselves are lost (they are counted)";

/// Whether the kernel asks before a file is executed, and for what.
pub(super) fn gate(found: &Findings) -> Check {
    if !found.gate_enabled {
        return check(NAME, false, "switched off (gate.enabled)", NO_GATE);
    }
    match &found.gate {
        None => {
            let found = "not tried: that needs root".to_owned();
            Check { name: NAME, verdict: Verdict::Unknown, found, cost: None }
        }
        Some(Err(reason)) => check(NAME, false, format!("refused: {reason}"), NO_GATE),
        Some(Ok(())) if found.gate_file_systems && found.initial_pid_namespace => check(
            NAME,
            true,
            "the kernel asks before files of any local file system are executed, containers included",
            "",
        ),
        Some(Ok(())) => check(
            NAME,
            false,
            "the kernel asks for the mounts of the agent's own mount namespace only",
            "what containers, and services with a mount namespace of their own, execute is taken by /proc, if the process \
             lives long enough; run the agent on the host, with gate.file_systems",
        ),
    }
}

/// Whether what has no file is stopped until it was taken.
pub(super) fn hold(found: &Findings) -> Check {
    let cost = "the executables of programs without a file (memfd, deleted before they ran) are taken by /proc, if the \
                process lives long enough; set probe.hold = true";
    let words = if found.hold {
        "a program without a file is stopped before its first instruction until it was taken"
    } else {
        "switched off (probe.hold)"
    };
    check("hold", found.hold, words, cost)
}

/// How it is seen what processes ask the kernel for.
pub(super) fn calls(found: &Findings) -> Check {
    let name = "calls";
    if !found.calls {
        let cost = "files in memory, tracing, mounts, namespaces, becoming root, chmod, rename and deletion are not recorded";
        return check(name, false, "switched off (probe.calls)", cost);
    }
    match &found.fentry {
        Some(Ok(())) => check(name, true, "seen at their return, at no cost for other calls", ""),
        Some(Err(_)) => {
            let cost = "every system call of the machine takes some 0.1 us longer; probe.calls = false ends that for all \
                        but accept";
            check(name, false, "seen by a program for all calls, as fexit is refused", cost)
        }
        None => {
            let found = "not tried: that needs root".to_owned();
            Check { name, verdict: Verdict::Unknown, found, cost: None }
        }
    }
}

/// Whether the stash can tell what the distribution brought.
pub(super) fn packages(found: &Findings) -> Check {
    let name = "packages";
    if !found.skip_packages {
        return check(name, true, "every executable is kept once (stash.skip_packages)", "");
    }
    match found.packages {
        Ok(kind) => {
            check(name, true, format!("{kind}: unchanged files of packages are left out of the stash"), "")
        }
        Err(reason) => check(
            name,
            false,
            reason,
            "the stash cannot tell what the distribution brought: every executable is kept once, which takes room \
             (stash.bytes)",
        ),
    }
}
