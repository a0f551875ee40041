//! What /proc says of one living process: the truth that the agent's reports are compared with.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::wait;

/// One process, as /proc showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// In the PID namespace of whoever looked.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// In clock ticks since boot: field 22 of its stat.
    pub start: u64,
    /// The short name.
    pub comm: String,
    /// Where its executable link points.
    pub exe: String,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Seen {
    /// Looks at a living process.
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}");
        let stat =
            fs::read_to_string(format!("{folder}/stat")).with_context(|| format!("read {folder}/stat"))?;
        let (comm, ppid, start) = fields(&stat).with_context(|| format!("{folder}/stat is odd: {stat}"))?;
        let exe = fs::read_link(format!("{folder}/exe")).with_context(|| format!("read {folder}/exe"))?;
        let line = fs::read_to_string(format!("{folder}/cmdline"))?;
        let args = line.strip_suffix('\0').unwrap_or(&line).split('\0').map(str::to_owned).collect();
        Ok(Self { pid, ppid, start, comm: comm.to_owned(), exe: exe.to_string_lossy().into_owned(), args })
    }

    /// Looks at it as soon as it has become `program` (between fork and exec it is still its parent's copy).
    pub fn once_it_is(pid: u32, program: &str) -> Result<Self> {
        wait::until(&format!("process {pid} to become {program}"), Duration::from_secs(10), || {
            Ok(Self::of(pid).ok().filter(|seen| seen.exe.ends_with(program)))
        })
    }
}

/// The living children of a process.
pub fn children(parent: u32) -> Result<Vec<Seen>> {
    let names = fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok());
    // Those that end while we look are no longer children.
    Ok(pids.filter_map(|pid| Seen::of(pid).ok()).filter(|seen| seen.ppid == parent).collect())
}

/// Whether no process of that number is there any more, not even as a zombie.
pub fn is_gone(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_err()
}

fn fields(stat: &str) -> Option<(&str, u32, u64)> {
    let (_, rest) = stat.split_once('(')?;
    // The name may itself hold brackets and spaces: the last bracket ends it.
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut after = rest.split(' ');
    let ppid = after.nth(1)?.parse().ok()?;
    let start = after.nth(17)?.trim().parse().ok()?;
    Some((comm, ppid, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let seen = Seen::of(std::process::id()).unwrap();
        assert_eq!(seen.ppid, std::os::unix::process::parent_id());
        assert_eq!(seen.args, std::env::args().collect::<Vec<_>>());
        assert_eq!(seen.exe, std::env::current_exe().unwrap().to_string_lossy());
    }

    #[test]
    fn a_name_full_of_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) R (b) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 0\n";
        assert_eq!(fields(stat), Some(("a) R (b", 3, 4711)));
        assert_eq!(fields("7 (a S 3"), None);
        assert_eq!(fields(""), None);
    }
}
