//! What the kernel's own clock says of BPF programs: how often each ran, and for how long.
//!
//! The kernel counts while a descriptor of `BPF_ENABLE_STATS` is open, and stops when it is closed; the sysctl of the same
//! purpose is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

/// `BPF_ENABLE_STATS` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const ENABLE_STATS: libc::c_int = 32;

/// The kernel counts as long as this lives.
pub struct Counting {
    _descriptor: OwnedFd,
}

/// The part of `union bpf_attr` that the command reads; the rest is zero.
#[repr(C)]
struct Attributes {
    /// `BPF_STATS_RUN_TIME` is 0.
    kind: u32,
}

impl Counting {
    /// Begins to count, for all programs of the machine, at some 20 ns a run.
    pub fn begin() -> Result<Self> {
        let attributes = Attributes { kind: 0 };
        // SAFETY: the command only reads `attributes`, of the size that is passed with it, and answers a descriptor.
        let answer = unsafe {
            libc::syscall(libc::SYS_bpf, ENABLE_STATS, &raw const attributes, size_of::<Attributes>())
        };
        ensure!(answer >= 0, "BPF_ENABLE_STATS: {}", io::Error::last_os_error());
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(Self { _descriptor: unsafe { OwnedFd::from_raw_fd(i32::try_from(answer)?) } })
    }
}

/// What one program did since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Runs while the kernel counted.
    pub runs: u64,
    /// Their time together, in ns.
    pub ns: u64,
}

/// The programs that process `pid` holds attached, by the name of their hook.
///
/// From `/proc/PID/fdinfo`: a link names its hook and its program's number, a program its number and its times.
pub fn of_process(pid: u32) -> Result<BTreeMap<String, Ran>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let (mut hooks, mut programs) = (BTreeMap::new(), BTreeMap::new());
    for entry in fs::read_dir(&folder).with_context(|| format!("read {folder}"))? {
        // A descriptor may be closed while we look.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let number = |name| value(&text, name).and_then(|value| value.parse::<u64>().ok());
        let Some(program) = number("prog_id") else { continue };
        if let (Some(ns), Some(runs)) = (number("run_time_ns"), number("run_cnt")) {
            programs.insert(program, Ran { runs, ns });
        } else if let Some(hook) = value(&text, "tp_name").or_else(|| value(&text, "link_type")) {
            hooks.insert(program, hook.to_owned());
        }
    }
    let named = hooks.into_iter().filter_map(|(program, hook)| Some((hook, *programs.get(&program)?)));
    Ok(named.collect())
}

/// The value of a line `name:\tvalue`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_whole_name() {
        let text = "pos:\t0\nprog_id:\t12\nlink_id:\t3\nodd\nrun_time_ns:\t0\n";
        assert_eq!(value(text, "prog_id"), Some("12"));
        assert_eq!(value(text, "link_id"), Some("3"));
        assert_eq!(value(text, "id"), None);
        assert_eq!(value("", "prog_id"), None);
    }
}
