//! What the findings mean. Pure.

use super::execution;
use super::host::Findings;
use super::{Check, Verdict};

/// The capabilities that are used, with what for (numbers: include/uapi/linux/capability.h).
const CAPABILITIES: [(u32, &str, &str); 6] = [
    (39, "CAP_BPF", "loading the probe"),
    (38, "CAP_PERFMON", "attaching the probe"),
    (19, "CAP_SYS_PTRACE", "memory, environment and descriptors of other users' processes"),
    (2, "CAP_DAC_READ_SEARCH", "files and logs of other users"),
    (21, "CAP_SYS_ADMIN", "the probe on kernels before 5.8, listing BPF programs, fanotify"),
    (12, "CAP_NET_ADMIN", "sockets of other network namespaces"),
];

/// All checks, in the order in which a person reads them.
pub(super) fn judge(found: &Findings) -> Vec<Check> {
    vec![
        kernel(found),
        capabilities(found),
        namespace(found),
        btf(found),
        tried("fentry", found.fentry.as_ref(), FENTRY_COST),
        tried("LSM programs", found.lsm.as_ref(), LSM_COST),
        kprobes(found),
        kcore(found),
        ram(found),
        lockdown(found),
        yama(found),
        execution::gate(found),
        execution::hold(found),
        execution::calls(found),
        execution::packages(found),
        places(found),
        prison(found),
        disk(found),
        recorder(found),
    ]
}

const FENTRY_COST: &str = "the probe uses tracepoints instead, which every supported kernel has: nothing that afterimage \
                           records is lost but what an io_uring accepts; see `calls` for what it costs";
const LSM_COST: &str = "no decision can be hung on a security hook: execs can be held only by fanotify, and writes \
                        are seen only in places of persistence and to logs";

/// Whether what is done to files in places of persistence and to logs is told.
fn places(found: &Findings) -> Check {
    let cost = "what is written to cron, systemd units, authorized_keys and the like, and which logs are cut, is not told";
    match &found.places {
        None => {
            let found = "not tried: that needs root".to_owned();
            Check { name: "places", verdict: Verdict::Unknown, found, cost: None }
        }
        Some(Ok(())) => {
            check("places", true, "writes to places of persistence and cuts of logs are told", "")
        }
        Some(Err(reason)) => check("places", false, reason.clone(), cost),
    }
}

pub(super) fn check(name: &'static str, good: bool, found: impl Into<String>, cost: &str) -> Check {
    let verdict = if good { Verdict::Good } else { Verdict::Missing };
    Check { name, verdict, found: found.into(), cost: (!good).then(|| cost.to_owned()) }
}

fn kernel(found: &Findings) -> Check {
    let mut numbers = found.kernel.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mut check =
        check("kernel", version >= (5, 10), found.kernel.clone(), "the probe needs Linux 5.10 or newer");
    if check.verdict == Verdict::Missing {
        check.verdict = Verdict::Blocks;
    }
    check
}

fn capabilities(found: &Findings) -> Check {
    let has = |number: u32| found.capabilities.checked_shr(number).unwrap_or(0) & 1 == 1;
    let missing: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(number, ..)| !has(*number))
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    if missing.is_empty() {
        return check("privileges", true, "root, with every capability that is used", "");
    }
    let words = format!("without: {}", missing.join(", "));
    let blocks = !has(39) && !has(21);
    let cost =
        "what needs them is refused, and the bundle says so; start it as root, or with these capabilities";
    let mut check = check("privileges", false, words, cost);
    if blocks && found.root {
        check.verdict = Verdict::Blocks;
    }
    check
}

fn namespace(found: &Findings) -> Check {
    let words = if found.initial_pid_namespace { "the whole host" } else { "only this PID namespace" };
    let cost = "processes outside it are not seen, and what belongs to the whole machine (kernel log, modules, \
                /proc/kcore, block devices) is refused; run it on the host, or in a container with hostPID";
    check("sees", found.initial_pid_namespace, words, cost)
}

fn btf(found: &Findings) -> Check {
    let Some(there) = found.btf else {
        let found = "may not be looked at without root".to_owned();
        return Check { name: "BTF", verdict: Verdict::Unknown, found, cost: None };
    };
    let words = if there { "/sys/kernel/btf/vmlinux" } else { "no /sys/kernel/btf/vmlinux" };
    let cost = "without the kernel's type information the probe cannot know where fields are: nothing is recorded; use a \
                kernel with CONFIG_DEBUG_INFO_BTF";
    let mut check = check("BTF", there, words, cost);
    if check.verdict == Verdict::Missing {
        check.verdict = Verdict::Blocks;
    }
    check
}

fn tried(name: &'static str, outcome: Option<&Result<(), String>>, cost: &str) -> Check {
    match outcome {
        Some(Ok(())) => check(name, true, "the kernel takes them", ""),
        Some(Err(reason)) => check(name, false, format!("refused: {reason}"), cost),
        None => {
            let found = "not tried: that needs root".to_owned();
            Check { name, verdict: Verdict::Unknown, found, cost: None }
        }
    }
}

fn kprobes(found: &Findings) -> Check {
    let Some(there) = found.kprobes else {
        let found = "not to be seen: /sys/bus/event_source is not there".to_owned();
        return Check { name: "kprobes", verdict: Verdict::Unknown, found, cost: None };
    };
    let words = if there { "built in" } else { "not built into this kernel" };
    check(
        "kprobes",
        there,
        words,
        "none for afterimage, which uses none; tools that rely on them do not work here",
    )
}

fn kcore(found: &Findings) -> Check {
    if !found.root && !found.kcore {
        let found = "cannot be opened without root".to_owned();
        return Check { name: "/proc/kcore", verdict: Verdict::Unknown, found, cost: None };
    }
    let words = if found.kcore { "can be opened" } else { "is not there, or refused" };
    let cost =
        "an image of the whole memory cannot be taken this way; memory of single processes is not affected";
    check("/proc/kcore", found.kcore, words, cost)
}

fn ram(found: &Findings) -> Check {
    let cost =
        "the profile `full` takes no image of the whole RAM; memory of single processes is not affected";
    match &found.ram {
        Some(Ok(way)) => check("whole RAM", true, format!("with the profile `full`, {way}"), ""),
        Some(Err(reason)) => check("whole RAM", false, reason.clone(), cost),
        None => {
            let found = "not tried: that needs root".to_owned();
            Check { name: "whole RAM", verdict: Verdict::Unknown, found, cost: None }
        }
    }
}

fn lockdown(found: &Findings) -> Check {
    let mode = found.lockdown.as_deref().and_then(|modes| modes.split('[').nth(1)?.split(']').next());
    match mode {
        None => check("lockdown", true, "not in force, or not to be seen (securityfs is not mounted)", ""),
        Some("none") => check("lockdown", true, "none", ""),
        Some("integrity") => check("lockdown", true, "integrity: the probe may still read kernel memory", ""),
        Some(mode) => {
            let cost = "the kernel refuses programs that read its memory: nothing is recorded in this mode";
            let mut check = check("lockdown", false, mode, cost);
            check.verdict = Verdict::Blocks;
            check
        }
    }
}

fn yama(found: &Findings) -> Check {
    match found.yama.as_deref() {
        Some("3") => check(
            "ptrace",
            false,
            "forbidden for everybody (kernel.yama.ptrace_scope = 3)",
            "threads cannot be stopped and their registers not read: cores have memory but no back-trace",
        ),
        Some(scope) => {
            check("ptrace", true, format!("allowed for root (kernel.yama.ptrace_scope = {scope})"), "")
        }
        None => check("ptrace", true, "allowed for root (no Yama)", ""),
    }
}

fn prison(found: &Findings) -> Check {
    let landlock =
        found.modules.as_deref().map(|modules| modules.split(',').any(|module| module == "landlock"));
    let cost = "the door still runs as a user without rights behind a system-call filter, but the file system is not \
                closed to it";
    match (landlock, found.door_user) {
        (Some(false), _) => check("door's prison", false, "no Landlock in this kernel", cost),
        (_, false) => {
            let cost = "the door runs as number 65534 (nobody), which other services may share; make the user \
                        (`useradd --system _afterimage`, unless door.user has another name)";
            check("door's prison", false, "the door's user is not in /etc/passwd", cost)
        }
        (None, true) => {
            check("door's prison", true, "own user; securityfs is not mounted, Landlock is tried anyway", "")
        }
        (Some(true), true) => check("door's prison", true, "own user, Landlock, system-call filter", ""),
    }
}

fn disk(found: &Findings) -> Check {
    let state = &found.state;
    match found.free_bytes {
        Some(free) if free < found.reserve_bytes => check(
            "disk",
            false,
            format!("{} MiB free at {state}", free >> 20),
            "captures are refused while less than captures.reserve_bytes is free; make room, or lower it",
        ),
        Some(free) => check("disk", true, format!("{} MiB free at {state}", free >> 20), ""),
        None => {
            check("disk", false, format!("{state} cannot be looked at"), "captures may have no place to go")
        }
    }
}

fn recorder(found: &Findings) -> Check {
    if !found.root {
        let found = "its socket answers root only".to_owned();
        return Check { name: "recorder", verdict: Verdict::Unknown, found, cost: None };
    }
    let words = if found.recorder { "runs" } else { "does not run" };
    let cost = "nothing is being recorded: what happens now is lost; start it: `afterimage run`, as root";
    check("recorder", found.recorder, words, cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Findings {
        Findings {
            root: true,
            kernel: "6.1.0-56-cloud-amd64".to_owned(),
            capabilities: u64::MAX,
            initial_pid_namespace: true,
            btf: Some(true),
            modules: Some("lockdown,capability,landlock,bpf".to_owned()),
            lockdown: Some("none [integrity] confidentiality".to_owned()),
            fentry: Some(Ok(())),
            lsm: Some(Ok(())),
            kprobes: Some(true),
            kcore: true,
            ram: Some(Ok("through /proc/kcore".to_owned())),
            yama: Some("1".to_owned()),
            door_user: true,
            free_bytes: Some(1 << 40),
            reserve_bytes: 1 << 30,
            state: "/var/lib/afterimage".to_owned(),
            recorder: true,
            gate: Some(Ok(())),
            gate_enabled: true,
            hold: true,
            calls: true,
            places: Some(Ok(())),
            gate_file_systems: true,
            packages: Ok("dpkg"),
            skip_packages: true,
        }
    }

    fn verdict(found: &Findings, name: &str) -> (Verdict, String) {
        let check = judge(found).into_iter().find(|check| check.name == name).unwrap();
        (check.verdict, format!("{} {}", check.found, check.cost.unwrap_or_default()))
    }

    #[test]
    fn a_host_with_everything_misses_nothing() {
        assert!(judge(&found()).iter().all(|check| check.verdict == Verdict::Good), "{:#?}", judge(&found()));
    }

    #[test]
    fn whatever_is_missing_is_named_with_its_cost() {
        let refused = || Some(Err("EPERM".to_owned()));
        let refused_words = || Some(Err("the kernel is locked down".to_owned()));
        for (name, findings, words) in [
            ("fentry", Findings { fentry: refused(), ..found() }, "tracepoints instead"),
            ("LSM programs", Findings { lsm: refused(), ..found() }, "security hook"),
            ("kprobes", Findings { kprobes: Some(false), ..found() }, "not built"),
            ("gate", Findings { gate: refused(), ..found() }, "by /proc after they have started"),
            ("hold", Findings { hold: false, ..found() }, "probe.hold"),
            ("calls", Findings { calls: false, ..found() }, "not recorded"),
            ("calls", Findings { fentry: refused(), ..found() }, "0.1 us"),
            ("places", Findings { places: refused(), ..found() }, "authorized_keys"),
            ("gate", Findings { gate_enabled: false, ..found() }, "switched off"),
            ("gate", Findings { gate_file_systems: false, ..found() }, "own mount namespace only"),
            ("gate", Findings { initial_pid_namespace: false, ..found() }, "containers"),
            ("packages", Findings { packages: Err("rpm"), ..found() }, "kept once"),
            ("/proc/kcore", Findings { kcore: false, ..found() }, "whole memory"),
            ("whole RAM", Findings { ram: refused_words(), ..found() }, "locked down"),
            ("sees", Findings { initial_pid_namespace: false, ..found() }, "hostPID"),
            ("ptrace", Findings { yama: Some("3".to_owned()), ..found() }, "no back-trace"),
            ("door's prison", Findings { modules: Some("bpf".to_owned()), ..found() }, "Landlock"),
            ("disk", Findings { free_bytes: Some(1), ..found() }, "refused"),
            ("privileges", Findings { capabilities: !(1 << 19), ..found() }, "CAP_SYS_PTRACE"),
        ] {
            let (verdict, text) = verdict(&findings, name);
            assert_eq!(verdict, Verdict::Missing, "{name}");
            assert!(text.contains(words), "{name}: {text}");
        }
    }

    #[test]
    fn what_makes_recording_impossible_stops() {
        for (name, findings) in [
            ("kernel", Findings { kernel: "4.19.0".to_owned(), ..found() }),
            ("kernel", Findings { kernel: "nonsense".to_owned(), ..found() }),
            ("BTF", Findings { btf: Some(false), ..found() }),
            (
                "lockdown",
                Findings { lockdown: Some("none integrity [confidentiality]".to_owned()), ..found() },
            ),
            ("privileges", Findings { capabilities: 0, ..found() }),
        ] {
            assert_eq!(verdict(&findings, name).0, Verdict::Blocks, "{name}");
        }
    }

    #[test]
    fn what_could_not_be_looked_at_is_not_called_missing() {
        let findings = Findings {
            root: false,
            btf: None,
            fentry: None,
            lsm: None,
            kprobes: None,
            kcore: false,
            ram: None,
            recorder: false,
            gate: None,
            ..found()
        };
        for name in [
            "kprobes",
            "BTF",
            "fentry",
            "LSM programs",
            "/proc/kcore",
            "whole RAM",
            "recorder",
            "gate",
            "calls",
        ] {
            assert_eq!(verdict(&findings, name).0, Verdict::Unknown, "{name}");
        }
    }
}
