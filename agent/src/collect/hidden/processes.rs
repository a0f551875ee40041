//! Processes that one view shows and another does not: the list in /proc, the kernel's own list, those in control groups, what
//! the kernel answers for each number, and what is mounted over a process's directory.
//!
//! The lists are read by turns, the kernel's first and last: who is in two of them under the same start time was there when
//! the one between was read. Two disagreements are needed, so that nobody is accused because the kernel just moved it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid};
use serde::Serialize;

use super::super::Context;
use super::super::attempts::{Attempts, Found, Miss, read_bounded};
use super::finding::View;
use super::views::missing;
use super::{groups, mounts};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::kernel::{List, Tasks};
use crate::proc::{Stat, Status, mounts as mounts_of};
use crate::text::Bytes;
use crate::thaw::boot_time;
use crate::trigger::Profile;

/// Asking for all numbers there can be takes the kernel about half a second.
const PATIENCE: Duration = Duration::from_secs(2);
const TEXT_MAX: u64 = 16 << 20;
/// Milliseconds of a clock tick of /proc's (`USER_HZ`, 100 on all of Linux's architectures that we run on).
const TICK_MS: u128 = 10;
/// Processes in /proc at most; and findings.
const LISTED_MAX: usize = 4 << 20;
const FINDINGS_MAX: usize = 10_000;

/// What was looked at, and what does not agree.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Views {
    /// Processes that /proc lists.
    listed: usize,
    /// Processes that the kernel's own list has, if that could be read.
    in_kernel: Option<usize>,
    /// Processes that are in a control group, if that was asked.
    in_groups: Option<usize>,
    /// Numbers from 1 up to here were asked for.
    asked_up_to: u32,
    /// Of these, the ones for which the kernel knows a process or thread.
    answered: usize,
    findings: Vec<Finding>,
    /// Findings that are too many to be listed.
    left_out: usize,
}

/// A process that does not show everywhere.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    pid: u32,
    reason: &'static str,
    /// What the kernel said of it besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Bytes>,
    /// What each of the two views says.
    views: [View; 2],
}

const UNLISTED: &str = "the kernel knows it, and the list of processes does not have it";
const IN_KERNEL: &str = "the kernel's own list has it, and the list of processes does not";
const NOT_IN_KERNEL: &str = "the list of processes has it, and the kernel's own list does not";
const IN_GROUP: &str = "it is in a control group, and the list of processes does not have it";
const UNREADABLE: &str = "the kernel knows it, and its directory in /proc cannot be read";
const OTHER: &str = "its directory in /proc shows another process";
const MOUNTED: &str = "something is mounted over its directory in /proc";

/// What the views say that lead to a reason: the one that has it not, and the one that has.
fn evidence(reason: &str) -> [(&'static str, &'static str); 2] {
    let list = "list of /proc";
    match reason {
        IN_KERNEL => [(list, "not there, in two looks"), ("the kernel's own list", "there, in three looks")],
        NOT_IN_KERNEL => {
            [("the kernel's own list", "not there, in three looks"), (list, "there, in two looks")]
        }
        IN_GROUP => [(list, "not there, in three looks"), ("control groups", "there, in two looks")],
        UNLISTED => {
            [(list, "not there, in three looks"), ("the kernel, asked for this number", "there, twice")]
        }
        UNREADABLE => {
            [("its directory in /proc", "cannot be read"), ("the kernel, asked for this number", "there")]
        }
        OTHER => [("its directory in /proc", "is another's"), ("the kernel, asked for this number", "there")],
        _ => [
            ("its directory in /proc", "is covered by a mount"),
            ("a procfs of our own", "does not have it either"),
        ],
    }
}

pub(in crate::collect) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let proc = &context.job.places.proc;
    let profile = context.plan.profile;
    let mut found = Vec::new();
    attempts.take(
        "processes that are not shown everywhere",
        &Name::data(&["hidden", "processes.json"]),
        |room| {
            let lists = Lists::read(proc, context.tasks.as_ref())?;
            let newest = number(proc, "loadavg").max(lists.before.last().copied().unwrap_or(0));
            // To ask for all takes half a second of a processor: the kernel's own list makes that needless, unless somebody
            // has changed that as well.
            let top = match (profile, &lists.kernel) {
                (Profile::Full, _) | (Profile::Triage, Err(_)) => {
                    number(proc, "sys/kernel/pid_max").max(newest)
                }
                (Profile::Volatile, Err(_)) => newest,
                (Profile::Triage | Profile::Volatile, Ok(_)) => 0,
            };
            let deadline = room.deadline.min(Instant::now() + PATIENCE);
            let groups = profile != Profile::Volatile;
            let (views, whole) = views(proc, &lists, (top, groups), deadline)?;
            found.extend(views.findings.iter().map(noted));
            let lack = (!whole).then(|| Miss::partial("there was no time to ask for every number"));
            Ok(Found::json(&views)?.lacking(lack))
        },
    )?;
    context.noted.append(&mut found);
    Ok(())
}

/// For the list of all findings.
fn noted(finding: &Finding) -> super::Finding {
    let all = super::Finding::new(format!("/proc/{}", finding.pid).as_bytes(), finding.reason);
    let name = finding.name.iter().cloned();
    let all = name.fold(all, |all, name| all.view("name", name));
    finding.views.iter().cloned().fold(all, super::Finding::with)
}

/// The lists, as they were read by turns: kernel, /proc, kernel, /proc, kernel.
struct Lists {
    kernel: Result<[List; 3], String>,
    before: BTreeSet<u32>,
    after: BTreeSet<u32>,
    /// When `before` was begun, in clock ticks since the boot.
    begun: u64,
}

impl Lists {
    fn read(proc: &Path, tasks: Option<&Tasks>) -> Result<Self, Miss> {
        let kernel = || match tasks {
            Some(tasks) => tasks.list().map_err(|failure| failure.to_string()),
            None => Err("there is no probe".to_owned()),
        };
        let first = kernel();
        let begun = u64::try_from(boot_time().as_millis() / TICK_MS).unwrap_or(u64::MAX);
        let before = list(proc)?;
        let second = kernel();
        let after = list(proc)?;
        let third = kernel();
        let kernel = first.and_then(|first| Ok([first, second?, third?]));
        if let Err(reason) = &kernel {
            tracing::debug!("the kernel's own list of processes: {reason}");
        }
        Ok(Self { kernel, before, after, begun })
    }

    /// In all of the kernel's, as the same process, and in none of /proc's.
    fn only_in_kernel(&self) -> Vec<u32> {
        let Ok([first, second, third]) = &self.kernel else { return Vec::new() };
        let stays = |(pid, start): &(&u32, &u64)| {
            [second, third].iter().all(|list| list.get(pid) == Some(start))
                && !self.before.contains(pid)
                && !self.after.contains(pid)
        };
        first.iter().filter(stays).map(|(pid, _)| *pid).collect()
    }

    /// In all of /proc's and in none of the kernel's; to be believed of one that began before these were read.
    fn only_in_proc(&self) -> Vec<u32> {
        let Ok(kernel) = &self.kernel else { return Vec::new() };
        let stays =
            |pid: &&u32| self.after.contains(pid) && !kernel.iter().any(|list| list.contains_key(pid));
        self.before.iter().filter(stays).copied().collect()
    }
}

/// Compares the views, asking for the numbers up to `top`, and for the control groups; whether all could be asked for.
fn views(
    proc: &Path,
    lists: &Lists,
    (top, groups): (u32, bool),
    deadline: Instant,
) -> Result<(Views, bool), Miss> {
    let mut views = Views {
        listed: lists.before.len(),
        in_kernel: lists.kernel.as_ref().ok().map(|[first, ..]| first.len()),
        ..Views::default()
    };
    for pid in lists.only_in_kernel() {
        views.add(pid, IN_KERNEL, status(proc, pid).1);
    }
    for pid in lists.only_in_proc() {
        let stat = read(&proc.join(pid.to_string()).join("stat")).and_then(|text| Stat::parse(&text).ok());
        if let Some(stat) = stat.filter(|stat| stat.start < lists.begun) {
            views.add(pid, NOT_IN_KERNEL, Some(stat.comm));
        }
    }
    if groups && let Some(first) = groups::processes(proc, deadline) {
        let between = list(proc)?;
        let second = groups::processes(proc, deadline).unwrap_or_default();
        views.in_groups = Some(first.len());
        for pid in missing(&[&first, &second], &[&lists.before, &lists.after, &between, &list(proc)?]) {
            views.add(pid, IN_GROUP, None);
        }
    }
    let (known, asked) = ask(top, deadline);
    (views.asked_up_to, views.answered) = (asked, known.len());
    let unlisted: Vec<_> =
        known.into_iter().filter(|pid| !lists.before.contains(pid) && !lists.after.contains(pid)).collect();
    // One that began in the meantime is in the list now, one that ended does not answer any more.
    let now = if unlisted.is_empty() { BTreeSet::new() } else { list(proc)? };
    for pid in unlisted.into_iter().filter(|pid| !now.contains(pid)) {
        let (group, name) = status(proc, pid);
        views.judge(pid, group, name, answers(pid));
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

/// Whose thread it is, and its name.
fn status(proc: &Path, pid: u32) -> (Option<u32>, Option<Bytes>) {
    let Some(text) = read(&proc.join(pid.to_string()).join("status")) else { return (None, None) };
    (Status::parse(&text).ok().map(|status| status.tgid), crate::proc::status_name(&text))
}

/// The last number of a file of /proc's; 0 where there is none.
fn number(proc: &Path, name: &str) -> u32 {
    read(&proc.join(name)).and_then(|text| last_number(&text)).unwrap_or(0)
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
        if self.findings.len() >= FINDINGS_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let mut views = evidence(reason).map(|(source, says)| View::new(source, says));
        if reason == MOUNTED
            && let ([_, beneath], Some(says)) = (&mut views, mounts::beneath(pid))
        {
            *beneath = View::new("a procfs of our own", says);
        }
        self.findings.push(Finding { pid, reason, name, views });
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
    mounts_of(mountinfo).iter().filter_map(|mount| inside(mount.point.as_slice())).collect()
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

    fn lists(kernel: [&[(u32, u64)]; 3], before: &[u32], after: &[u32]) -> Lists {
        Lists {
            kernel: Ok(kernel.map(|list| list.iter().copied().collect())),
            before: before.iter().copied().collect(),
            after: after.iter().copied().collect(),
            begun: 100,
        }
    }

    #[test]
    fn who_comes_goes_or_is_replaced_meanwhile_is_in_one_list_only_and_accused_by_nobody() {
        let all = lists([&[(1, 5), (7, 6)], &[(1, 5), (7, 6)], &[(1, 5), (7, 6)]], &[1], &[1]);
        assert_eq!((all.only_in_kernel(), all.only_in_proc()), (vec![7], vec![]));
        for (kernel, before, after) in [
            // Ended after the second look.
            ([&[(7, 6)][..], &[(7, 6)], &[]], &[][..], &[][..]),
            // Began after the first.
            ([&[], &[(7, 6)], &[(7, 6)]], &[], &[]),
            // Another one of this number.
            ([&[(7, 6)], &[(7, 9)], &[(7, 9)]], &[], &[]),
            // The kernel was just moving it when /proc was read.
            ([&[(7, 6)], &[(7, 6)], &[(7, 6)]], &[7], &[]),
            ([&[(7, 6)], &[(7, 6)], &[(7, 6)]], &[], &[7]),
            // Ended, and came back.
            ([&[], &[(7, 6)], &[]], &[7], &[7]),
        ] {
            let all = lists(kernel, before, after);
            assert_eq!((all.only_in_kernel(), all.only_in_proc()), (vec![], vec![]), "{:?}", all.kernel);
        }
        let all = lists([&[(1, 5)], &[(1, 5)], &[(1, 5)]], &[1, 7], &[1, 7]);
        assert_eq!((all.only_in_kernel(), all.only_in_proc()), (vec![], vec![7]));
        let none = Lists { kernel: Err(String::new()), ..lists([&[], &[], &[]], &[1, 7], &[1, 7]) };
        assert_eq!((none.only_in_kernel(), none.only_in_proc()), (vec![], vec![]));
    }

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
