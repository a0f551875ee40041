//! BPF programs: the kernel's list of their numbers against asking for each number there can be, against what is pinned in a
//! BPF file system, and against what processes hold. A rootkit that edits the answers to the list most often leaves the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::super::Context;
use super::super::attempts::{Attempts, Miss};
use super::super::exe::MOUNTINFO_MAX;
use super::super::procdir::ProcDir;
use super::finding::{Finding, Report, take};
use super::views::{PAUSE, kernels_entries, kernels_own, missing};
use crate::bundle::writer::Error;
use crate::event::ProcessId;
use crate::proc::{is_reached, mounts};
use crate::system::bpf_objects::{self, Program};
use crate::text::{Bytes, hex};

/// Programs on a list; a host has some hundreds.
const PROGRAMS_MAX: usize = 100_000;
/// Beyond the last number on the list so many are asked for, and for all no longer than this.
const BEYOND: u32 = 4096;
const PATIENCE: Duration = Duration::from_secs(2);
const PINS_MAX: usize = 10_000;
const PIN_DEPTH: usize = 8;
const FDS_MAX: usize = 65_536;
const FDINFO_MAX: u64 = 4096;
/// What the link of a descriptor of a program says.
const LINK: &[u8] = b"anon_inode:bpf-prog";

const UNLISTED: &str = "the kernel has this BPF program, and its list of programs does not";
const NO_NUMBER: &str = "the list of BPF programs has this number, and the kernel gives no program for it";

type Numbers = BTreeSet<u32>;

/// Where programs show beside the list; with where each was seen.
#[derive(Debug, Default)]
struct Seen {
    asked: Numbers,
    pinned: BTreeMap<u32, Bytes>,
    held: BTreeMap<u32, Bytes>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let (job, tree) = (context.job, context.tree);
    let living: Vec<ProcessId> =
        tree.nodes().filter(|node| node.lives_in(job.facts.boot)).map(|node| node.id).collect();
    take(&mut context.noted, attempts, ("BPF programs that are not shown everywhere", "bpf"), |room| {
        if !job.facts.initial_pid_namespace {
            return Err(Miss::refused(
                "they belong to the whole machine, and the agent lives in a PID namespace of its own",
            ));
        }
        let mut report = Report::default();
        let mut look =
            Look { proc: &job.places.proc, living: &living, report: &mut report, deadline: room.deadline };
        let mut lists = vec![list()?];
        let mut seen = vec![look.seen(&lists)?];
        lists.push(list()?);
        if !compare(&lists, &seen).is_empty() {
            thread::sleep(PAUSE);
            seen.push(look.seen(&lists)?);
            lists.push(list()?);
        }
        report.compared("list", lists.first().map_or(0, BTreeSet::len));
        if let Some(first) = seen.first() {
            report.compared("asked for by number", first.asked.len());
            report.compared("pinned", first.pinned.len());
            report.compared("held by processes", first.held.len());
        }
        if seen.len() > 1 {
            report.extend(compare(&lists, &seen));
        }
        Ok(report)
    })
}

fn list() -> Result<Numbers, Miss> {
    let mut numbers = Numbers::new();
    let mut last = 0;
    while let Some(next) =
        bpf_objects::next(last).map_err(|error| Miss::at("list the BPF programs", &error))?
    {
        if next <= last || numbers.len() >= PROGRAMS_MAX {
            break;
        }
        numbers.insert(next);
        last = next;
    }
    Ok(numbers)
}

struct Look<'a> {
    proc: &'a Path,
    living: &'a [ProcessId],
    report: &'a mut Report,
    deadline: Instant,
}

impl Look<'_> {
    fn seen(&mut self, lists: &[Numbers]) -> Result<Seen, Miss> {
        let last = lists.iter().filter_map(BTreeSet::last).max().copied().unwrap_or(0);
        Ok(Seen { asked: self.ask(last.saturating_add(BEYOND))?, pinned: self.pinned(), held: self.held() })
    }

    fn ask(&mut self, top: u32) -> Result<Numbers, Miss> {
        let until = self.deadline.min(Instant::now() + PATIENCE);
        let mut found = Numbers::new();
        for number in 1..=top {
            if number % 1024 == 0 && Instant::now() >= until {
                self.report.lack(format!("BPF programs were asked for up to number {number} of {top}"));
                break;
            }
            let program =
                bpf_objects::by_number(number).map_err(|error| Miss::at("ask for a BPF program", &error))?;
            if program.is_some() {
                found.insert(number);
            }
        }
        Ok(found)
    }

    /// Programs that have a name in a BPF file system.
    fn pinned(&mut self) -> BTreeMap<u32, Bytes> {
        let text = kernels_own(&self.proc.join("self/mountinfo"), MOUNTINFO_MAX).unwrap_or_default();
        let mut found = BTreeMap::new();
        let all = mounts(&text);
        let mut folders: Vec<(PathBuf, usize)> = all
            .iter()
            .filter(|mount| mount.kind.as_slice() == b"bpf" && is_reached(mount, &all))
            .map(|mount| (PathBuf::from(std::ffi::OsStr::from_bytes(mount.point.as_slice())), 0))
            .collect();
        let mut left = PINS_MAX;
        while let Some((folder, depth)) = folders.pop() {
            let Some(entries) = kernels_entries(&folder) else { continue };
            for entry in entries {
                left = left.saturating_sub(1);
                if left == 0 {
                    self.report.lack(format!("more than {PINS_MAX} pinned BPF objects"));
                    return found;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if depth < PIN_DEPTH {
                        folders.push((entry.path(), depth.saturating_add(1)));
                    }
                } else if let Some(program) = pin(&entry.path()) {
                    found.insert(program.id, Bytes::from(entry.path().as_os_str().as_bytes()));
                }
            }
        }
        found
    }

    /// Programs that a process has a descriptor of.
    fn held(&mut self) -> BTreeMap<u32, Bytes> {
        let mut found = BTreeMap::new();
        let until = self.deadline.min(Instant::now() + PATIENCE);
        for dir in self.living.iter().filter_map(|id| ProcDir::open(self.proc, *id).ok()) {
            if Instant::now() >= until {
                self.report.lack("not all processes were asked for the BPF programs they hold".to_owned());
                break;
            }
            let (fds, _) = dir.numbers("fd", FDS_MAX).unwrap_or_default();
            for fd in fds {
                if dir.link(&format!("fd/{fd}")).is_ok_and(|link| link == LINK) {
                    let (text, _) = dir.text(&format!("fdinfo/{fd}"), FDINFO_MAX).unwrap_or_default();
                    if let Some(number) = program_of(&text) {
                        found.insert(number, Bytes::from(&*format!("{} fd {fd}", dir.id().short())));
                    }
                }
            }
        }
        found
    }
}

/// What a name in a BPF file system stands for, if that is a program.
fn pin(path: &Path) -> Option<Program> {
    let object = bpf_objects::pinned(&CString::new(path.as_os_str().as_bytes()).ok()?).ok()?;
    let link = nix::fcntl::readlink(format!("/proc/self/fd/{}", object.as_raw_fd()).as_str()).ok()?;
    (link.as_bytes() == LINK).then(|| bpf_objects::describe(object.as_fd()).ok())?
}

/// `prog_id:` of a fdinfo.
fn program_of(fdinfo: &[u8]) -> Option<u32> {
    let line = fdinfo.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"prog_id:"))?;
    std::str::from_utf8(line.trim_ascii()).ok()?.parse().ok()
}

/// What is seen in every look in one way, and on no list; and what is on every list and never to be had. Pure, but for the
/// descriptions.
fn compare(lists: &[Numbers], seen: &[Seen]) -> Vec<Finding> {
    let lists: Vec<&Numbers> = lists.iter().collect();
    let asked: Vec<&Numbers> = seen.iter().map(|seen| &seen.asked).collect();
    let keys = |of: fn(&Seen) -> &BTreeMap<u32, Bytes>| -> Vec<Numbers> {
        seen.iter().map(|seen| of(seen).keys().copied().collect()).collect()
    };
    let (pinned, held) = (keys(|seen| &seen.pinned), keys(|seen| &seen.held));
    let mut hidden = missing(&asked, &lists);
    hidden.append(&mut missing(&pinned.iter().collect::<Vec<_>>(), &lists));
    hidden.append(&mut missing(&held.iter().collect::<Vec<_>>(), &lists));
    let hidden = hidden.into_iter().map(|number| {
        let place = |of: fn(&Seen) -> &BTreeMap<u32, Bytes>, nothing: &str| {
            seen.iter()
                .find_map(|seen| of(seen).get(&number))
                .cloned()
                .unwrap_or_else(|| Bytes::from(nothing))
        };
        let known = seen.iter().any(|seen| seen.asked.contains(&number));
        Finding::new(object(number).as_bytes(), UNLISTED)
            .view("list (BPF_PROG_GET_NEXT_ID)", "not listed")
            .view("by number (BPF_PROG_GET_FD_BY_ID)", if known { "there" } else { "not there" })
            .view("pinned as", place(|seen| &seen.pinned, "nothing"))
            .view("held by", place(|seen| &seen.held, "nobody"))
            .view("description", described(number).as_bytes())
    });
    let gone = missing(&lists, &asked).into_iter().map(|number| {
        Finding::new(object(number).as_bytes(), NO_NUMBER)
            .view("list (BPF_PROG_GET_NEXT_ID)", "listed")
            .view("by number (BPF_PROG_GET_FD_BY_ID)", "not there")
    });
    hidden.chain(gone).collect()
}

fn object(number: u32) -> String {
    format!("bpf program {number}")
}

fn described(number: u32) -> String {
    let program = bpf_objects::by_number(number).ok().flatten();
    match program.and_then(|program| bpf_objects::describe(program.as_fd()).ok()) {
        Some(Program { kind, tag, name, loaded, .. }) => format!(
            "type {kind}, tag {}, name {}, loaded {loaded} ns after the boot",
            hex(&tag),
            crate::text::escape(&name)
        ),
        None => "cannot be had".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u32]) -> Numbers {
        numbers.iter().copied().collect()
    }

    fn seen(asked: &[u32], pinned: &[u32], held: &[u32]) -> Seen {
        let map = |numbers: &[u32]| numbers.iter().map(|number| (*number, Bytes::from("x"))).collect();
        Seen { asked: set(asked), pinned: map(pinned), held: map(held) }
    }

    fn found(lists: &[&[u32]], seen: &[Seen]) -> Vec<(String, &'static str)> {
        let lists: Vec<Numbers> = lists.iter().map(|numbers| set(numbers)).collect();
        compare(&lists, seen).iter().map(|one| (one.object.to_string(), one.reason)).collect()
    }

    #[test]
    fn a_program_off_the_list_is_found_by_any_other_way() {
        for one in
            [|| seen(&[1, 900_007], &[], &[]), || seen(&[1], &[900_007], &[]), || seen(&[1], &[], &[900_007])]
        {
            let expected = [("bpf program 900007".to_owned(), UNLISTED)];
            assert_eq!(found(&[&[1], &[1], &[1]], &[one(), one()]), expected);
        }
        assert_eq!(
            found(&[&[1, 9], &[1, 9], &[1, 9]], &[seen(&[1], &[], &[]), seen(&[1], &[], &[])]),
            [("bpf program 9".to_owned(), NO_NUMBER)]
        );
    }

    #[test]
    fn programs_that_come_and_go_are_no_findings() {
        for (lists, looks) in [
            ([&[1][..], &[1, 9], &[1, 9]], [seen(&[1, 9], &[9], &[9]), seen(&[1, 9], &[9], &[9])]),
            ([&[1, 9], &[1], &[1]], [seen(&[1, 9], &[], &[]), seen(&[1], &[], &[])]),
            ([&[1], &[1], &[1]], [seen(&[1, 9], &[], &[9]), seen(&[1, 10], &[], &[])]),
            ([&[1], &[1, 9], &[1]], [seen(&[1, 9], &[], &[]), seen(&[1, 9], &[], &[])]),
            ([&[1, 9], &[1, 9], &[1]], [seen(&[1], &[], &[]), seen(&[1], &[], &[])]),
            ([&[1, 9], &[1, 9], &[1, 9]], [seen(&[1], &[], &[]), seen(&[1, 9], &[], &[])]),
            ([&[1], &[1], &[1]], [seen(&[1], &[], &[]), seen(&[1], &[], &[])]),
            ([&[], &[], &[]], [seen(&[], &[], &[]), seen(&[], &[], &[])]),
        ] {
            assert_eq!(found(&lists, &looks), [], "{lists:?} {looks:?}");
        }
    }

    #[test]
    fn a_descriptors_program_is_read() {
        assert_eq!(program_of(b"pos:\t0\nprog_type:\t5\nprog_id:\t4711\n"), Some(4711));
        for text in
            [&b""[..], b"prog_id:", b"prog_id:\t-1", b"map_id:\t7", b"prog_id:\tx\nprog_id:\t7", b"\xff"]
        {
            assert_eq!(program_of(text), None);
        }
    }
}
