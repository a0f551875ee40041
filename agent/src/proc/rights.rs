//! What a process may do, and what it does about signals, by the lines of `/proc/PID/status`; its limits
//! (`/proc/PID/limits`) and timers (`/proc/PID/timers`).

use serde::Serialize;

use super::decimal;
use super::maps::hexadecimal;
use crate::text::Bytes;

/// By number (include/uapi/linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Timers of one process that are listed.
const TIMERS_MAX: usize = 4096;

/// What a process may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rights {
    /// Capabilities by name, or number where this program knows no name.
    pub capabilities: Capabilities,
    /// Whether an exec can give it no more rights (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: Option<bool>,
    /// 0 off, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
    /// How many filters there are.
    pub seccomp_filters: Option<u32>,
    /// What it does about signals.
    pub signals: Signals,
}

/// The sets of capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Kept over an exec of a file that has them, too.
    pub inheritable: Vec<String>,
    /// May be made effective.
    pub permitted: Vec<String>,
    /// In force.
    pub effective: Vec<String>,
    /// Beyond which an exec gives none.
    pub bounding: Vec<String>,
    /// Kept over any exec.
    pub ambient: Vec<String>,
}

/// Signals by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signals {
    /// Sent to the thread and not yet taken.
    pub pending: Vec<String>,
    /// Sent to the process and not yet taken.
    pub shared_pending: Vec<String>,
    /// Held back.
    pub blocked: Vec<String>,
    /// Ignored.
    pub ignored: Vec<String>,
    /// Handled by the program.
    pub caught: Vec<String>,
}

/// One limit (getrlimit(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// In the kernel's words.
    pub name: String,
    /// In force; none for no limit.
    pub soft: Option<u64>,
    /// As far as it can be raised.
    pub hard: Option<u64>,
}

/// One timer of timer_create(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timer {
    /// Its number.
    pub id: u32,
    /// The signal it sends.
    pub signal: u32,
    /// How, and to whom.
    pub notify: Bytes,
    /// `CLOCK_*`
    pub clock: i64,
}

impl Rights {
    /// Reads the whole file's bytes; what is missing stays empty.
    pub fn parse(status: &[u8]) -> Self {
        let value = |key: &str| {
            status
                .split(|&byte| byte == b'\n')
                .find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))
                .map(<[u8]>::trim_ascii)
        };
        let set = |key| value(key).and_then(hexadecimal).unwrap_or(0);
        let capabilities = |key| bits(set(key)).map(capability).collect();
        let signals = |key| bits(set(key)).map(|bit| signal(bit.saturating_add(1))).collect();
        Self {
            capabilities: Capabilities {
                inheritable: capabilities("CapInh"),
                permitted: capabilities("CapPrm"),
                effective: capabilities("CapEff"),
                bounding: capabilities("CapBnd"),
                ambient: capabilities("CapAmb"),
            },
            no_new_privileges: value("NoNewPrivs").and_then(decimal).map(|yes: u32| yes != 0),
            seccomp: value("Seccomp").and_then(decimal),
            seccomp_filters: value("Seccomp_filters").and_then(decimal),
            signals: Signals {
                pending: signals("SigPnd"),
                shared_pending: signals("ShdPnd"),
                blocked: signals("SigBlk"),
                ignored: signals("SigIgn"),
                caught: signals("SigCgt"),
            },
        }
    }
}

/// The limits that the text of `/proc/PID/limits` lists; other lines are passed over.
pub fn limits(text: &[u8]) -> Vec<Limit> {
    text.split(|&byte| byte == b'\n').filter_map(limit).collect()
}

/// The timers that the text of `/proc/PID/timers` lists.
pub fn timers(text: &[u8]) -> Vec<Timer> {
    let mut timers: Vec<Timer> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (key, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if key == b"ID" {
            if timers.len() >= TIMERS_MAX {
                return timers;
            }
            let Some(id) = decimal(value) else { continue };
            timers.push(Timer { id, ..Timer::default() });
        } else if let Some(timer) = timers.last_mut() {
            let first = value.split(|&byte| byte == b'/').next().unwrap_or_default();
            match key {
                b"signal" => timer.signal = decimal(first).unwrap_or(0),
                b"notify" => timer.notify = Bytes::from(value),
                b"ClockID" => {
                    timer.clock = match value.strip_prefix(b"-") {
                        Some(digits) => decimal(digits).map_or(0, |number: i64| -number),
                        None => decimal(value).unwrap_or(0),
                    }
                }
                _ => {}
            }
        }
    }
    timers
}

/// `Max open files            1024                 524288               files     `: fields are apart by two spaces or
/// more, a name holds single ones.
fn limit(line: &[u8]) -> Option<Limit> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("Max ")?;
    let mut fields = line.split("  ").map(str::trim).filter(|field| !field.is_empty());
    let name = fields.next()?.to_owned();
    let mut value = || match fields.next()?.split(' ').next()? {
        "unlimited" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    Some(Limit { name, soft: value()?, hard: value()? })
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |bit| set >> bit & 1 == 1)
}

fn capability(bit: u32) -> String {
    let name = usize::try_from(bit).ok().and_then(|bit| CAPABILITIES.get(bit));
    name.map_or_else(|| bit.to_string(), |name| (*name).to_owned())
}

fn signal(number: u32) -> String {
    let known = i32::try_from(number).ok().and_then(|number| nix::sys::signal::Signal::try_from(number).ok());
    known.map_or_else(|| format!("SIG{number}"), |known| known.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rights_and_signals_get_their_names() {
        let text = b"Name:\tx\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\nSigBlk:\t0000000200000000\n\
            SigIgn:\t0000000000001000\nSigCgt:\t0000000000000002\nCapInh:\t0000000000000000\nCapPrm:\t0000000000200001\n\
            CapEff:\t8000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";
        let rights = Rights::parse(text);
        assert_eq!(rights.capabilities.permitted, ["chown", "sys_admin"]);
        assert_eq!(
            (rights.capabilities.effective, rights.capabilities.ambient),
            (vec!["63".to_owned()], vec![])
        );
        assert_eq!((rights.no_new_privileges, rights.seccomp), (Some(true), Some(2)));
        assert_eq!(rights.seccomp_filters, Some(3));
        let Signals { pending, shared_pending, blocked, ignored, caught } = rights.signals;
        assert_eq!(
            (pending, shared_pending, blocked),
            (vec![], vec!["SIGHUP".to_owned()], vec!["SIG34".to_owned()])
        );
        assert_eq!((ignored, caught), (vec!["SIGPIPE".to_owned()], vec!["SIGINT".to_owned()]));
        assert_eq!(Rights::parse(b"CapPrm:\t\nSeccomp: x\nSigCgt:\tfffffffffffffffff\n"), Rights::default());
    }

    #[test]
    fn limits_are_read_and_broken_lines_left_out() {
        let text = std::fs::read("/proc/self/limits").unwrap();
        let all = limits(&text);
        assert_eq!(all.len(), 16, "{all:?}");
        assert!(all.iter().any(|limit| limit.name == "open files" && limit.soft.is_some()));
        let text = b"Limit   Soft Limit  Hard Limit  Units\nMax x  1\nMax y  1  a  b\nMax\nMax nice priority   0   unlimited  \n";
        assert_eq!(limits(text), [Limit { name: "nice priority".to_owned(), soft: Some(0), hard: None }]);
    }

    #[test]
    fn timers_are_read_and_broken_lines_left_out() {
        let text = b"signal: 1/0\nID: 0\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: -6\nID: x\nID: 7\n";
        let all = timers(text);
        assert_eq!((all.len(), all[0].signal, all[0].clock), (2, 60, -6));
        assert_eq!((&all[0].notify, all[1].id), (&Bytes::from("signal/pid.2634"), 7));
        assert_eq!(timers("ID: 1\n".repeat(5000).as_bytes()).len(), TIMERS_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, line in "(Max|ID|signal|CapEff)[:a-f0-9 ]{0,40}") {
            Rights::parse(&bytes);
            limits(&bytes);
            limits(line.as_bytes());
            timers(&bytes);
            timers(line.as_bytes());
        }
    }
}
