//! Process memory as an ELF core of the pages that are there. What is not in it stands beside it, in `core.json`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Instant;

use jiff::Timestamp;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::backing::{self, Backing};
use super::core::{Machine, Subject, head};
use super::exe::MOUNTINFO_MAX;
use super::file::Remote;
use super::freeze::{Freezer, Lot, Smear, Stop, TaskList, lots};
use super::image::{Image, Reading};
use super::pool::Pool;
use super::procdir::ProcDir;
use super::segments::{Choice, Hole, IN_FILE, SEGMENTS_MAX, Selection, hexadecimal, select};
use super::snapshot::{self, Block, Store};
use super::source::Source;
use super::spool::Spool;
use super::system::pagemap::{self, PageRun};
use crate::bundle::writer::Error;
use crate::bundle::{Frozen, Method, Name, Outcome};
use crate::capture::job::Limits;
use crate::plan::InScope;
use crate::proc::{Mapping, Status, device_memory, mappings, mounts};
use crate::text::Bytes;

/// `maps` of a process with the 65,530 mappings the kernel allows by default has some 10 MiB.
const MAPS_MAX: u64 = 32 << 20;
const SMAPS_MAX: u64 = 128 << 20;
const TEXT_MAX: u64 = 4 << 20;
const STATM_MAX: u64 = 256;

/// Runs of present pages of one process; more are a hole.
const RUNS_MAX: usize = SEGMENTS_MAX;

/// Room for headers and notes, beside the pages.
const HEAD_ROOM: u64 = 32 << 20;

/// Asks for the memory that the largest process in scope needs, long before its turn.
pub(super) fn make_room(context: &Context<'_>) {
    let cores = context.plan.scope.iter().filter(|one| one.core);
    let standing = cores.filter_map(|one| context.look.around.standings.get(&one.id));
    let largest = standing.map(|standing| standing.resident).max().unwrap_or(0);
    let (count, length) =
        snapshot::share(largest.min(context.plan.limits.memory_bytes), context.plan.limits.buffer_bytes);
    if largest > 0 {
        context.pool.begin(count, length);
    }
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let scope: Vec<InScope> = context.plan.scope.iter().filter(|one| one.core).cloned().collect();
    attempts.expect(scope.len().saturating_mul(2));
    let own = ProcDir::own(&context.job.places.proc).and_then(|own| own.text("mountinfo", MOUNTINFO_MAX));
    let mounts = own.map(|(text, _)| mounts(&text)).unwrap_or_default();
    let lots = lots(&scope, context.plan.limits.freeze, &context.pinned, &mounts);
    let outcome = lots.iter().try_for_each(|lot| together(context, lot, attempts));
    // It holds what others had in their memory, and nobody needs it from here on.
    context.pool.empty();
    outcome
}

/// Processes that are held together.
fn together(context: &mut Context<'_>, lot: &Lot, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    if let Some(cgroup) = lot.cgroup() {
        attempts.hold(format!("the cgroup {cgroup}"));
        if let Err(why) = context.freezer.begin(lot) {
            attempts.miss(format!("{cgroup} freeze"), Miss::refused(why))?;
        }
    }
    lot.processes.iter().try_for_each(|one| process(context, one, attempts))?;
    let frozen = context.freezer.end();
    attempts.let_go(frozen.as_ref())?;
    context.frozen.extend(frozen);
    Ok(())
}

/// What is said of one core.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// How it was held still.
    method: Method,
    /// Threads that were stopped.
    stopped: usize,
    /// Threads that could not be stopped, whose registers are zeros, and why.
    not_stopped: Vec<(u32, String)>,
    threads: usize,
    reading: Reading,
    /// When the first of it was on the disk, counted from when the process was asked to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    safe: Option<Safe>,
    segments: usize,
    mappings: Vec<Row>,
    /// Chosen not to be read, and why.
    holes: Vec<Hole>,
    /// What changed while it was read, if it was not held.
    #[serde(skip_serializing_if = "Option::is_none")]
    smear: Option<Smear>,
    /// A remark on how it was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// The files of pages that were left out because they are the same there.
    files: Vec<Backing>,
    #[serde(skip)]
    left_out: Vec<Mapping>,
}

/// So many bytes were written and synchronised, whatever happened afterwards.
#[derive(Debug, Serialize)]
struct Safe {
    bytes: u64,
    after_us: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(serialize_with = "hexadecimal")]
    start: u64,
    #[serde(serialize_with = "hexadecimal")]
    end: u64,
    permissions: String,
    path: Bytes,
    /// Bytes that are in memory or swap.
    present: u64,
}

fn process(context: &mut Context<'_>, one: &InScope, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let short = one.id.short();
    let subject = format!("{short} memory");
    let dir = match context.pinned.get(one.id) {
        Ok(dir) if dir.is_agent() => {
            return attempts.miss(subject, Miss::refused("it is a process of the agent itself"));
        }
        Ok(dir) if dir.stat.is_kernel_thread() => {
            return attempts.miss(subject, Miss::refused("a kernel thread has no memory of its own"));
        }
        Ok(dir) => dir,
        Err(miss) => return attempts.miss(subject, miss),
    };
    let report = RefCell::new(Report::default());
    let reading = RefCell::new(Reading::default());
    let name = Name::data(&["process", &short, "core"]);
    let (since, begun, was_safe) = (Timestamp::now(), Instant::now(), attempts.safe().is_some());
    let Context { plan, pool, spool, freezer, .. } = &mut *context;
    let means = (&plan.limits, &*pool, &*spool);
    let before = TaskList::at(&dir);
    attempts.hold(short.clone());
    let taken = attempts.take_and_judge(
        subject,
        &name,
        |room| {
            let budget = room.memory.min(room.bytes.saturating_sub(HEAD_ROOM));
            core(&dir, budget, means, &mut *freezer, &report, &reading)
        },
        || Some(judge(&reading.borrow(), &mut report.borrow_mut(), &before, &dir)),
    )?;
    let mut report = report.into_inner();
    report.reading = reading.into_inner();
    report.safe = attempts.safe().filter(|_| !was_safe).map(|(bytes, at)| {
        let after = at.saturating_duration_since(begun);
        Safe { bytes, after_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX) }
    });
    if report.stopped > 0 {
        let frozen = Frozen {
            processes: vec![one.id],
            method: report.method,
            cgroup: None,
            threads: report.stopped,
            since,
            micros: report.reading.frozen_us,
            note: report.note.clone(),
        };
        attempts.let_go(Some(&frozen))?;
        context.frozen.push(frozen);
    } else {
        attempts.let_go(None)?;
    }
    if taken {
        attempts.spend_memory(report.reading.read);
        report.files = backing::files(&dir, &report.left_out, &Remote::default(), attempts.room());
        let name = Name::data(&["process", &short, "core.json"]);
        attempts.take(format!("{short} memory report"), &name, |_| Found::json(&report))?;
    }
    Ok(())
}

/// What is to be said of the reading, and of what changed meanwhile in a process that was not held.
fn judge(reading: &Reading, report: &mut Report, before: &TaskList, dir: &ProcDir) -> Miss {
    let mut said = reading.judge();
    if let Some(note) = &report.note {
        said.detail = format!("{}; {note}", said.detail);
    }
    if report.stopped == 0 {
        let smear = before.until_now(dir);
        said.detail = format!("{}; {}", said.detail, smear.said());
        if let Some(lack) = smear.lack() {
            said = Miss::partial(format!("{}; {}", said.detail, lack.detail));
        }
        report.smear = Some(smear);
    }
    said
}

fn core<'r>(
    dir: &ProcDir,
    budget: u64,
    (limits, pool, spool): (&Limits, &Pool, &Spool),
    freezer: &mut Freezer,
    report: &RefCell<Report>,
    reading: &'r RefCell<Reading>,
) -> Result<Found<'r>, Miss> {
    let page = page_size()?;
    if budget < page {
        return Err(Miss::new(Outcome::OverBudget, "the memory budget was used up before it"));
    }
    // Whoever makes its arguments hang must not stand still meanwhile.
    let (command_line, _) = dir.text("cmdline", TEXT_MAX)?;
    let forbidden = Forbidden::of(dir);
    let mut store = Store::prepare(resident(dir, page).min(budget), limits.buffer_bytes, pool, spool);

    let stop = freezer.stop(dir);
    // After the stop: what is read or opened before would be of the program that an exec replaced.
    let open = |name| dir.file(name).map_err(|error| Miss::at(&format!("open {name}"), &error));
    let (mem, pages) = (open("mem")?, open("pagemap")?);
    let source = Source::new(mem, usize::try_from(page).unwrap_or(4096));
    let (status, _) = dir.text("status", TEXT_MAX)?;
    let status = Status::parse(&status).unwrap_or_default();
    let (auxv, _) = dir.text("auxv", TEXT_MAX)?;
    let (maps, cut) = dir.text("maps", MAPS_MAX)?;
    dir.check()?;
    let mappings = mappings(&maps);
    if mappings.is_empty() {
        return Err(Miss::new(Outcome::Gone, "it has no memory (any more)"));
    }
    let mut holes = Vec::new();
    let present = present(&pages, page, &mappings, &forbidden, &mut holes);
    let machine = Machine::OURS;
    let mut stacks: Vec<u64> =
        stop.threads.iter().filter_map(|thread| thread.stack_pointer(machine)).collect();
    stacks.sort_unstable();
    let choice = Choice { page, budget, file_pages: limits.file_page_bytes, stacks: &stacks };
    let Selection { segments, holes: over, bytes } = select(&present, choice);
    holes.extend(over);
    let mut blocks = snapshot::blocks(&segments);
    let threads = stop.threads.clone();
    let lack = lack(&stop, &holes, cut);
    report.borrow_mut().held_by(&stop);
    let stop = copy(stop, &mut store, &mut blocks, &source, reading);
    let subject = Subject {
        machine,
        stat: &dir.stat,
        uid: status.uids[1],
        gid: status.gids[1],
        command_line: &command_line,
        auxv: &auxv,
        mappings: &mappings,
        threads: &threads,
        page,
    };
    let head = head(&subject, &segments);
    let mut report = report.borrow_mut();
    report.segments = segments.len();
    report.mappings = present.iter().map(|(mapping, runs)| row(mapping, runs)).collect();
    let left_out = holes.iter().filter(|hole| hole.why == IN_FILE);
    report.left_out = left_out.filter_map(|hole| containing(&mappings, hole.start).cloned()).collect();
    report.holes = holes;
    let size = u64::try_from(head.len()).unwrap_or(u64::MAX).saturating_add(bytes);
    let image = Image::new(head, blocks, store, source, stop, reading);
    Ok(Found::stream(image, size).fast().lacking(lack))
}

/// Copies what there is room for, and lets the process go; without room it is held until it is read.
fn copy(
    stop: Stop,
    store: &mut Store,
    blocks: &mut [Block],
    source: &Source,
    reading: &RefCell<Reading>,
) -> Option<Stop> {
    if store.is_empty() {
        return Some(stop);
    }
    let copied = store.copy(blocks, source, stop.until);
    let mut reading = reading.borrow_mut();
    reading.release(stop);
    reading.copied(copied);
    None
}

impl Report {
    fn held_by(&mut self, stop: &Stop) {
        self.stopped = stop.len();
        self.method = stop.method;
        self.note.clone_from(&stop.note);
        self.threads = stop.threads.len();
        self.not_stopped.clone_from(&stop.refused);
    }
}

/// The mapping that holds an address; they are in order.
fn containing(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let after = mappings.partition_point(|mapping| mapping.start <= address);
    mappings.get(after.checked_sub(1)?).filter(|mapping| address < mapping.end)
}

/// About as many bytes as the process has in memory: the second number of `statm`, in pages.
fn resident(dir: &ProcDir, page: u64) -> u64 {
    let (text, _) = dir.text("statm", STATM_MAX).unwrap_or_default();
    let mut numbers =
        text.split(|byte| *byte == b' ').map(|number| str::from_utf8(number).ok()?.parse::<u64>().ok());
    numbers.nth(1).flatten().unwrap_or(0).saturating_mul(page)
}

fn lack(stop: &Stop, holes: &[Hole], cut: Option<Miss>) -> Option<Miss> {
    let mut lacks: Vec<String> = cut.into_iter().map(|cut| format!("maps {}", cut.detail)).collect();
    if let Some((tid, why)) = stop.refused.first() {
        lacks.push(format!("{} threads without registers, such as {tid}: {why}", stop.refused.len()));
    }
    if let Some(tid) = stop.pending.first() {
        lacks.push(format!("{} threads did not stop in time, such as {tid}", stop.pending.len()));
    }
    if let Some(hole) = holes.first() {
        lacks.push(format!("{} ranges left out, such as {:#x}: {}", holes.len(), hole.start, hole.why));
    }
    (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")))
}

/// Memory that must not be touched.
struct Forbidden {
    device: HashSet<u64>,
    remote: Remote,
}

impl Forbidden {
    fn of(dir: &ProcDir) -> Self {
        let text = |name, max| dir.text(name, max).map(|(text, _)| text).unwrap_or_default();
        Self {
            device: device_memory(&text("smaps", SMAPS_MAX)),
            remote: Remote::of(&text("mountinfo", MOUNTINFO_MAX)),
        }
    }

    fn why(&self, mapping: &Mapping) -> Option<&'static str> {
        let path = mapping.path.as_slice();
        let shared_memory = path.starts_with(b"/dev/shm/") || path.starts_with(b"/dev/zero");
        match path {
            b"[vvar]" | b"[vsyscall]" | b"[vvar_vclock]" => Some("a page of the kernel's"),
            _ if self.device.contains(&mapping.start) => Some("device memory"),
            _ if path.starts_with(b"/dev/") && !shared_memory => Some("a device"),
            _ if mapping.inode != 0 && self.remote.has(mapping.device) => {
                Some("a file of a network or user-space file system, which may hang")
            }
            _ => None,
        }
    }
}

fn present(
    pages: &std::fs::File,
    page: u64,
    mappings: &[Mapping],
    forbidden: &Forbidden,
    holes: &mut Vec<Hole>,
) -> Vec<(Mapping, Vec<PageRun>)> {
    let mut left = RUNS_MAX;
    let mut all = Vec::with_capacity(mappings.len());
    for mapping in mappings {
        let (start, end) = (mapping.start, mapping.end);
        let mut hole = |why: String| holes.push(Hole { start, end, why });
        let mut runs = Vec::new();
        if let Some(why) = forbidden.why(mapping) {
            // The kernel's own pages are the same in every process, and nobody misses them.
            if why != "a page of the kernel's" {
                hole(why.to_owned());
            }
        } else if mapping.path.as_slice() == b"[vdso]" {
            // The kernel's own few pages, there whether they were touched or not.
            runs.push(PageRun { start, end, file: false });
        } else {
            match pagemap::present(pages, page, start, end, left) {
                Ok(found) => runs = found,
                Err(error) => hole(format!("ask which pages are present: {error}")),
            }
        }
        left = left.saturating_sub(runs.len());
        if left == 0 {
            hole("more runs of pages than are looked at".to_owned());
        }
        all.push((mapping.clone(), runs));
    }
    all
}

fn row(mapping: &Mapping, runs: &[PageRun]) -> Row {
    let flag = |set, letter| if set { letter } else { '-' };
    let permissions = [
        flag(mapping.read, 'r'),
        flag(mapping.write, 'w'),
        flag(mapping.exec, 'x'),
        if mapping.shared { 's' } else { 'p' },
    ];
    Row {
        start: mapping.start,
        end: mapping.end,
        permissions: permissions.iter().collect(),
        path: mapping.path.clone(),
        present: runs.iter().map(|run| run.end - run.start).sum(),
    }
}

pub(super) fn page_size() -> Result<u64, Miss> {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
    size.filter(|size| size.is_power_of_two()).ok_or_else(|| Miss::refused("the page size is not known"))
}

#[cfg(test)]
#[path = "memory_test.rs"]
mod tests;
