//! Processes that are not what they seem: user programs under the name of a kernel thread, executables whose names mislead,
//! executables that are gone from the disk. Each is looked at twice: one that is just executing something is in between.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::Context;
use super::super::attempts::{Attempts, Room};
use super::super::names::{misleading, misleading_shown, split};
use super::super::procdir::ProcDir;
use super::super::walk::Walker;
use super::finding::{Finding, Report, take};
use crate::bundle::writer::Error;
use crate::event::ProcessId;
use crate::history::packages::Packages;
use crate::text::Bytes;

/// Of a command line only the beginning matters.
const COMMAND_MAX: u64 = 4096;
/// The kernel's parent of all its threads.
const KTHREADD: u32 = 2;
/// What the kernel adds to the path of a file that was removed.
const DELETED: &[u8] = b" (deleted)";

/// Names of kernel threads that no program has, up to what tells one from the other.
const KERNEL_NAMES: &[&[u8]] = &[
    b"kworker/",
    b"kthreadd",
    b"ksoftirqd/",
    b"migration/",
    b"rcu_sched",
    b"rcu_preempt",
    b"rcu_gp",
    b"rcu_par_gp",
    b"rcu_tasks_kthre",
    b"rcub/",
    b"rcuc/",
    b"rcuop/",
    b"cpuhp/",
    b"kdevtmpfs",
    b"kauditd",
    b"khungtaskd",
    b"oom_reaper",
    b"kcompactd",
    b"khugepaged",
    b"ksmd",
    b"kswapd",
    b"kblockd",
    b"kintegrityd",
    b"kthrotld",
    b"scsi_eh_",
    b"scsi_tmf_",
    b"jbd2/",
    b"ext4-rsv-conver",
    b"xfsaild/",
    b"irq/",
    b"idle_inject/",
    b"edac-poller",
    b"devfreq_wq",
    b"ecryptfs-kthr",
    b"kstrp",
    b"ipv6_addrconf",
    b"kmpath_rdacd",
    b"acpi_thermal_pm",
    b"raid5wq",
    b"mm_percpu_wq",
    b"slub_flushwq",
    b"inet_frag_wq",
    b"kpsmoused",
];

/// One process, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// `PF_KTHREAD`.
    kernel_thread: bool,
    parent: u32,
    comm: Bytes,
    /// The first word of the command line.
    called: Bytes,
    /// Where the kernel says the executable is; nothing of one that has none.
    executable: Option<Bytes>,
    /// Whether it has no name any more.
    unlinked: bool,
    /// Whether its path is another file's now, which came with a package: it was upgraded.
    replaced: bool,
}

const BRACKETS: &str = "it calls itself a kernel thread and has an executable";
const KERNEL_COMM: &str = "its name is that of a kernel thread, and it has an executable";
const STRANGE_PARENT: &str = "the kernel marks it as a thread of its own, and its parent is not the kernel's";
const WITH_PROGRAM: &str = "the kernel marks it as a thread of its own, and it has an executable";
const MEMORY_ONLY: &str = "its executable was never on a disk (a memfd)";
const GONE: &str = "its executable was deleted and still runs";
const NAME: &str = "its executable has a name made to mislead";
const COMM: &str = "its own name is made to mislead";

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let (job, tree) = (context.job, context.tree);
    let living: Vec<ProcessId> =
        tree.nodes().filter(|node| node.lives_in(job.facts.boot)).map(|node| node.id).collect();
    let mut looks = Looks {
        context_root: job.places.root.clone(),
        proc: job.places.proc.clone(),
        packages: Packages::new(&job.places.root),
    };
    take(&mut context.noted, attempts, ("processes that are not what they seem", "disguises"), |room| {
        let mut report = Report::default();
        let first = looks.all(&living, room, &mut report);
        report.compared("processes", first.len());
        let odd: Vec<ProcessId> =
            first.into_iter().filter(|(_, seen)| !judge(seen).is_empty()).map(|(id, _)| id).collect();
        for (id, seen) in looks.all(&odd, room, &mut report) {
            report.extend(judge(&seen).into_iter().map(|reason| finding(id, &seen, reason)));
        }
        Ok(report)
    })
}

struct Looks {
    context_root: std::path::PathBuf,
    proc: std::path::PathBuf,
    packages: Packages,
}

impl Looks {
    fn all(&mut self, of: &[ProcessId], room: Room, report: &mut Report) -> BTreeMap<ProcessId, Seen> {
        let mut found = BTreeMap::new();
        let walker = Walker::new(&self.context_root, &self.proc, 0, room.deadline);
        for id in of {
            if Instant::now() >= room.deadline {
                report.lack("not all processes could be looked at in time".to_owned());
                break;
            }
            // One that has ended hides nothing any more; our own are known.
            let Ok(dir) = ProcDir::open(&self.proc, *id) else { continue };
            if !dir.is_agent()
                && let Some(seen) = self.one(&dir, &walker)
            {
                found.insert(*id, seen);
            }
        }
        found
    }

    fn one(&mut self, dir: &ProcDir, walker: &Walker) -> Option<Seen> {
        let link = dir.link("exe").ok().map(Bytes);
        let unlinked = link.is_some() && dir.behind("exe").is_ok_and(|attributes| attributes.links == 0);
        let (command, _) = dir.text("cmdline", COMMAND_MAX).unwrap_or_default();
        let called = command.split(|&byte| byte == 0).next().map(Bytes::from).unwrap_or_default();
        let replaced = unlinked
            && link.as_ref().is_some_and(|link| {
                let path = link.as_slice().strip_suffix(DELETED).unwrap_or(link.as_slice());
                walker.find(path).is_ok_and(|now| self.packages.own(path, &now.attributes))
            });
        dir.is_there().ok()?;
        Some(Seen {
            kernel_thread: dir.stat.is_kernel_thread(),
            parent: dir.stat.ppid,
            comm: dir.stat.comm.clone(),
            called,
            executable: link,
            unlinked,
            replaced,
        })
    }
}

/// What is wrong with it. Pure.
fn judge(seen: &Seen) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    let Some(executable) = &seen.executable else {
        // In a PID namespace of its own nobody sees kernel threads; their parent is 2, and the parent of 2 is 0.
        if seen.kernel_thread && !matches!(seen.parent, 0 | KTHREADD) {
            reasons.push(STRANGE_PARENT);
        }
        return reasons;
    };
    if seen.kernel_thread {
        reasons.push(WITH_PROGRAM);
    }
    if in_brackets(seen.called.as_slice()) {
        reasons.push(BRACKETS);
    }
    if !seen.kernel_thread && is_kernel_name(seen.comm.as_slice()) {
        reasons.push(KERNEL_COMM);
    }
    let path = executable.as_slice();
    if path.starts_with(b"/memfd:") {
        reasons.push(MEMORY_ONLY);
    } else if seen.unlinked && !seen.replaced {
        reasons.push(GONE);
    }
    let path = if seen.unlinked { path.strip_suffix(DELETED).unwrap_or(path) } else { path };
    if !path.starts_with(b"/memfd:") && !misleading(split(path).1).is_empty() {
        reasons.push(NAME);
    }
    // It is cut at 15 bytes, in the middle of a character or after a space.
    if misleading_shown(seen.comm.as_slice()) {
        reasons.push(COMM);
    }
    reasons
}

/// `[kworker/0:1]`, as ps(1) shows what has no command line. Programs do say something in brackets of themselves
/// (`[celeryd: worker]`), but not a single word, nor the name of a kernel thread.
fn in_brackets(called: &[u8]) -> bool {
    let Some(inner) = called.strip_prefix(b"[").and_then(|rest| rest.trim_ascii_end().strip_suffix(b"]"))
    else {
        return false;
    };
    is_kernel_name(inner) || (!inner.is_empty() && inner.iter().all(|&byte| !byte.is_ascii_whitespace()))
}

fn is_kernel_name(name: &[u8]) -> bool {
    KERNEL_NAMES.iter().any(|known| match known.last() {
        // What comes after these is a number, or another word.
        Some(b'/' | b'_' | b'-') => name.starts_with(known) && name.len() > known.len(),
        _ => name.strip_prefix(*known).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit)),
    })
}

fn finding(id: ProcessId, seen: &Seen, reason: &'static str) -> Finding {
    let executable = seen.executable.clone().unwrap_or_else(|| Bytes::from("none"));
    let flag = if seen.kernel_thread { "set" } else { "not set" };
    Finding::new(format!("/proc/{}", id.pid).as_bytes(), reason)
        .view("identity", id.short().as_bytes())
        .view("stat: comm", seen.comm.as_slice())
        .view("stat: flags, PF_KTHREAD", flag)
        .view("stat: ppid", seen.parent.to_string().as_bytes())
        .view("cmdline: first word", seen.called.as_slice())
        .view("exe", executable.as_slice())
        .view("exe: links", if seen.unlinked { "0" } else { "1 or more, or no executable" })
}

#[cfg(test)]
#[path = "disguise_test.rs"]
mod tests;
