//! Processes that one view shows and another does not: the list in /proc, what the kernel answers for each number, and
//! what is mounted over a process's directory.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid};
use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss, read_bounded};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::proc::{Stat, Status, mounts};
use crate::text::Bytes;
use crate::trigger::Profile;

/// Asking for all numbers there can be takes the kernel about half a second.
const PATIENCE: Duration = Duration::from_secs(2);
const TEXT_MAX: u64 = 16 << 20;
/// Processes in /proc at most; and findings.
const LISTED_MAX: usize = 4 << 20;
const FINDINGS_MAX: usize = 10_000;

/// What was looked at, and what does not agree.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Views {
    /// Processes that /proc lists.
    listed: usize,
    /// Numbers from 1 up to here were asked for.
    asked_up_to: u32,
    /// Of these, the ones for which the kernel knows a process or thread.
    answered: usize,
    findings: Vec<Finding>,
}

/// A process that does not show everywhere.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    pid: u32,
    reason: &'static str,
    /// What the kernel said of it besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Bytes>,
}

const UNLISTED: &str = "the kernel knows it, and the list of processes does not have it";
const UNREADABLE: &str = "the kernel knows it, and its directory in /proc cannot be read";
const OTHER: &str = "its directory in /proc shows another process";
const MOUNTED: &str = "something is mounted over its directory in /proc";

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let proc = &context.job.places.proc;
    let every = context.plan.profile != Profile::Volatile;
    attempts.take(
        "processes that are not shown everywhere",
        &Name::data(&["hidden", "processes.json"]),
        |room| {
            let (views, whole) = views(proc, every, room.deadline.min(Instant::now() + PATIENCE))?;
            let lack = (!whole).then(|| Miss::partial("there was no time to ask for every number"));
            Ok(Found::json(&views)?.lacking(lack))
        },
    )?;
    Ok(())
}

/// Compares the views; whether all numbers were asked for that should be: all there can be, where `every`, else those up
/// to the last one given.
fn views(proc: &Path, every: bool, deadline: Instant) -> Result<(Views, bool), Miss> {
    let before = list(proc)?;
    let limit = |name: &str| read(&proc.join(name)).and_then(|text| last_number(&text)).unwrap_or(0);
    let newest = limit("loadavg").max(before.last().copied().unwrap_or(0));
    let top = if every { limit("sys/kernel/pid_max").max(newest) } else { newest };
    let (known, asked) = ask(top, deadline);
    // One that began in the meantime is in the second list, one that ended does not answer any more.
    let after = list(proc)?;
    let mut views =
        Views { listed: before.len(), asked_up_to: asked, answered: known.len(), findings: Vec::new() };
    for pid in known.iter().filter(|pid| !before.contains(pid) && !after.contains(pid)) {
        let status = read(&proc.join(pid.to_string()).join("status"));
        let (group, name) = status.map_or((None, None), |text| {
            (Status::parse(&text).ok().map(|status| status.tgid), crate::proc::status_name(&text))
        });
        views.judge(*pid, group, name, answers(*pid));
    }
    for pid in mounted(proc, &read(&proc.join("self/mountinfo")).unwrap_or_default()) {
        views.add(pid, MOUNTED, None);
        let shown = read(&proc.join(pid.to_string()).join("stat")).and_then(|text| Stat::parse(&text).ok());
        if shown.as_ref().map(|stat| stat.pid) != Some(pid) && answers(pid) {
            let reason = if shown.is_some() { OTHER } else { UNREADABLE };
            views.add(pid, reason, shown.map(|stat| stat.comm));
        }
    }
    Ok((views, asked >= top))
}

impl Views {
    /// A number that answers and is in no list: the threads of a process are not listed, and that is as it should be.
    fn judge(&mut self, pid: u32, group: Option<u32>, name: Option<Bytes>, still: bool) {
        match group {
            _ if !still => {}
            Some(group) if group != pid => {}
            Some(_) => self.add(pid, UNLISTED, name),
            None => self.add(pid, UNREADABLE, name),
        }
    }

    fn add(&mut self, pid: u32, reason: &'static str, name: Option<Bytes>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { pid, reason, name });
        }
    }
}

/// The numbers that the list in /proc has.
#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
fn list(proc: &Path) -> Result<BTreeSet<u32>, Miss> {
    let failed = |errno: Errno| Miss::at("list the processes", &errno.into());
    let mut dir = Dir::open(proc, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let numbers = dir.iter().filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok());
    Ok(numbers.take(LISTED_MAX).collect())
}

/// The numbers up to `top` for which there is a process or a thread, and up to which one was asked.
fn ask(top: u32, deadline: Instant) -> (BTreeSet<u32>, u32) {
    let mut known = BTreeSet::new();
    for pid in 1..=top {
        if pid % 4096 == 0 && Instant::now() >= deadline {
            return (known, pid.saturating_sub(1));
        }
        if answers(pid) {
            known.insert(pid);
        }
    }
    (known, top)
}

/// Whether the kernel knows this number, by a question that looks at no file.
fn answers(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    !matches!(getpgid(Some(Pid::from_raw(pid))), Err(Errno::ESRCH))
}

/// The processes over whose directory something is mounted.
fn mounted(proc: &Path, mountinfo: &[u8]) -> BTreeSet<u32> {
    use std::os::unix::ffi::OsStrExt;
    let inside = |point: &[u8]| -> Option<u32> {
        let rest = point.strip_prefix(proc.as_os_str().as_bytes())?.strip_prefix(b"/")?;
        let first = rest.split(|&byte| byte == b'/').next()?;
        std::str::from_utf8(first).ok()?.parse().ok()
    };
    mounts(mountinfo).iter().filter_map(|mount| inside(mount.point.as_slice())).collect()
}

#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
fn read(path: &Path) -> Option<Vec<u8>> {
    let (bytes, _) = read_bounded(std::fs::File::open(path).ok()?, TEXT_MAX).ok()?;
    Some(bytes)
}

/// The last number of a text, which may stand alone.
fn last_number(text: &[u8]) -> Option<u32> {
    let last = text.split(u8::is_ascii_whitespace).rfind(|word| !word.is_empty())?;
    std::str::from_utf8(last).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_those_that_have_ended_are_no_findings() {
        let mut views = Views::default();
        views.judge(10, Some(9), None, true);
        views.judge(11, Some(11), None, false);
        views.judge(12, None, None, false);
        assert_eq!(views.findings, []);
        views.judge(13, Some(13), Some(Bytes::from("x")), true);
        views.judge(14, None, None, true);
        let reasons: Vec<_> = views.findings.iter().map(|finding| (finding.pid, finding.reason)).collect();
        assert_eq!(reasons, [(13, UNLISTED), (14, UNREADABLE)]);
    }

    #[test]
    fn mounts_over_a_process_are_found() {
        let text = b"1 0 0:5 / /proc rw - proc proc rw\n2 1 0:6 / /proc/77 rw - tmpfs none rw\n\
            3 1 0:6 / /proc/sys rw - proc proc rw\n4 1 0:6 / /proc/78/fd rw - tmpfs none rw\n5 1 0:6 / /procx/9 rw - tmpfs none rw\n";
        assert_eq!(mounted(Path::new("/proc"), text), BTreeSet::from([77, 78]));
        assert_eq!(mounted(Path::new("/host/proc"), text), BTreeSet::new());
        assert_eq!(mounted(Path::new("/proc"), b"\xff garbage"), BTreeSet::new());
    }

    #[test]
    fn the_last_number_of_a_text_is_found() {
        assert_eq!(last_number(b"0.00 0.01 0.05 1/80 4711\n"), Some(4711));
        assert_eq!(last_number(b"4194304\n"), Some(4_194_304));
        for text in [&b""[..], b"\n", b"a\n", b"1 -1\n", b"99999999999\n"] {
            assert_eq!(last_number(text), None);
        }
    }

    #[test]
    fn the_kernel_knows_this_process_and_not_the_number_after_the_last() {
        assert!(answers(std::process::id()));
        assert!(!answers(u32::MAX));
    }
}
