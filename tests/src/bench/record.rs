//! `cargo xtask bench record`: what recording costs whoever runs on the host, and what it keeps.

use super::load::Load;
use super::watcher::Watcher;
use super::{Part, kept, kernel_time, killed, ratio};

/// What the table does not have, in words.
pub(super) const LEFT_OUT: &str =
    "auditd is not compared: its rules slow every process of the machine, so it belongs into a VM";

/// All of it; see docs/testing.md.
pub(super) const PARTS: [Part; 19] = [
    Part { name: "kernel_time", measure: kernel_time::measure },
    Part { name: "storm_minute", measure: kept::storm },
    Part { name: "recorder_memory", measure: kept::memory },
    Part { name: "killed_1", measure: killed::measure },
    Part { name: "killed_2", measure: killed::measure },
    Part { name: "killed_3", measure: killed::measure },
    Part { name: "killed_4", measure: killed::measure },
    Part { name: "storm_agent", measure: || ratio::measure(Watcher::Agent, Load::Storm) },
    Part { name: "first_agent", measure: || ratio::measure(Watcher::Agent, Load::First) },
    Part { name: "connect_agent", measure: || ratio::measure(Watcher::Agent, Load::Connect) },
    Part { name: "storm_execsnoop", measure: || ratio::measure(Watcher::Execsnoop, Load::Storm) },
    Part { name: "first_execsnoop", measure: || ratio::measure(Watcher::Execsnoop, Load::First) },
    Part { name: "connect_execsnoop", measure: || ratio::measure(Watcher::Execsnoop, Load::Connect) },
    Part { name: "storm_bpftrace", measure: || ratio::measure(Watcher::Bpftrace, Load::Storm) },
    Part { name: "first_bpftrace", measure: || ratio::measure(Watcher::Bpftrace, Load::First) },
    Part { name: "connect_bpftrace", measure: || ratio::measure(Watcher::Bpftrace, Load::Connect) },
    Part { name: "storm_perf", measure: || ratio::measure(Watcher::Perf, Load::Storm) },
    Part { name: "first_perf", measure: || ratio::measure(Watcher::Perf, Load::First) },
    Part { name: "connect_perf", measure: || ratio::measure(Watcher::Perf, Load::Connect) },
];
