//! What is taken at once, before the history is read and anybody is looked for: the tree of what lives, and of whom the
//! recorder knows to be meant the state as it is now, and the executable, held open. It may be gone a moment later.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss, Progress, read_bounded};
use super::exe::MOUNTINFO_MAX;
use super::file::{Remote, regular, reopen, whole};
use super::procdir::ProcDir;
use crate::bundle::writer::Error;
use crate::bundle::{Bag, Name, Outcome};
use crate::capture::job::Job;
use crate::event::ProcessId;
use crate::proc::Stat;
use crate::text::Bytes;

/// Processes whose state is taken at once; and what waits to be written.
const TARGETS_MAX: usize = 16;
const WAITING: usize = 64;
/// A target whose memory is stuck can hold whoever asks for its maps, for ever: the rest goes on without.
const PATIENCE: Duration = Duration::from_millis(500);

const TEXTS: &[(&str, u64)] = &[
    ("maps", 16 << 20),
    ("status", 64 << 10),
    ("cmdline", 4 << 20),
    ("cgroup", 64 << 10),
    ("syscall", 4 << 10),
];

/// An executable that is held open.
#[derive(Debug)]
pub struct Held {
    id: ProcessId,
    file: File,
    size: u64,
}

/// One process, as its `stat` says.
#[derive(Serialize)]
struct Row {
    pid: u32,
    parent: u32,
    start: u64,
    name: Bytes,
    state: String,
    session: i32,
    threads: u32,
}

/// What the reading thread has to say.
enum Said {
    Text(String, Name, Result<(Vec<u8>, Option<Miss>), Miss>),
    Exe(String, Result<Held, Miss>),
}

/// Takes it, and puts it on its way to the file at once.
pub fn first(
    job: &Job,
    bag: &mut Bag,
    deadline: Instant,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Held>, Error> {
    let mut attempts = Attempts::new(bag, progress, &job.limits, deadline);
    attempts.begin("first");
    let patience = deadline.min(Instant::now() + PATIENCE);
    let said = listen(job);
    let rows = tree(&job.places.proc);
    attempts.take("tree", &Name::data(&["first", "tree.json"]), |_| Found::json(&rows?))?;
    let mut held = Vec::new();
    loop {
        match said.recv_timeout(patience.saturating_duration_since(Instant::now())) {
            Ok(Said::Text(subject, name, found)) => {
                let found = found.map(|(bytes, lack)| Found::bytes(bytes).lacking(lack));
                attempts.take(subject, &name, |_| found)?;
            }
            Ok(Said::Exe(subject, Ok(exe))) => {
                let detail = format!("an executable of {} bytes is held open", exe.size);
                attempts.miss(subject, Miss::new(Outcome::Ok, detail))?;
                held.push(exe);
            }
            Ok(Said::Exe(subject, Err(miss))) => attempts.miss(subject, miss)?,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                attempts
                    .miss("the targets", Miss::new(Outcome::TimedOut, "one of them holds whoever reads"))?;
                break;
            }
        }
    }
    bag.flush()?;
    Ok(held)
}

/// Executables that were held, of processes that have ended meanwhile: of the others it was taken as of all.
pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    for held in std::mem::take(&mut context.held) {
        let planned = context.plan.scope.iter().any(|one| one.id == held.id && (one.exe || !one.living));
        if !planned || ProcDir::open(&context.job.places.proc, held.id).is_ok() {
            continue;
        }
        let short = held.id.short();
        let name = Name::data(&["process", &short, "exe"]);
        attempts.take(format!("{short} exe, held since the trigger"), &name, |room| {
            Ok(whole(held.file, held.size, room)?
                .noting("the process had ended; its executable was held open"))
        })?;
    }
    Ok(())
}

/// A thread of its own reads: it may hang.
fn listen(job: &Job) -> Receiver<Said> {
    let (tell, said) = sync_channel(WAITING);
    let (proc, targets) = (job.places.proc.clone(), targets(job));
    // Without a thread the channel is closed at once, and the targets are taken with all others.
    drop(std::thread::Builder::new().name("first".to_owned()).spawn(move || read(&proc, &targets, &tell)));
    said
}

/// Whom the recorder knows, or the pid that the trigger names.
fn targets(job: &Job) -> Vec<ProcessId> {
    let mut targets = job.targets.clone();
    if targets.is_empty()
        && let Some(pid) = job.trigger.target.pid
        && let Some(stat) = stat(&job.places.proc.join(pid.to_string()))
    {
        targets.push(ProcessId { boot: job.facts.boot, pid, start: stat.start });
    }
    targets.truncate(TARGETS_MAX);
    targets
}

fn read(proc: &Path, targets: &[ProcessId], tell: &SyncSender<Said>) {
    for id in targets {
        let short = id.short();
        let dir = match ProcDir::open(proc, *id) {
            Ok(dir) if dir.is_agent() => continue,
            Ok(dir) => dir,
            Err(miss) => {
                drop(tell.send(Said::Exe(format!("{short} exe held"), Err(miss))));
                continue;
            }
        };
        drop(tell.send(Said::Exe(format!("{short} exe held"), hold(&dir))));
        for (text, max) in TEXTS {
            let name = Name::data(&["first", &short, text]);
            let found = dir.text(text, *max).map_err(Miss::of_the_living);
            drop(tell.send(Said::Text(format!("{short} {text}"), name, found)));
        }
    }
}

fn hold(dir: &ProcDir) -> Result<Held, Miss> {
    let path = dir.path("exe").map_err(|error| Miss::at("look at exe", &error))?;
    let remote = Remote::of(&dir.text("mountinfo", MOUNTINFO_MAX).map(|(text, _)| text).unwrap_or_default());
    let size = regular(&path, &remote)?.size;
    Ok(Held { id: dir.id(), file: reopen(&path)?, size })
}

/// Everything that lives, by one short text each.
#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
fn tree(proc: &Path) -> Result<Vec<Row>, Miss> {
    let entries = std::fs::read_dir(proc).map_err(|error| Miss::at("list the processes", &error))?;
    let folders = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit));
    let row = |stat: Stat| Row {
        pid: stat.pid,
        parent: stat.ppid,
        start: stat.start,
        name: stat.comm,
        state: char::from(stat.state).to_string(),
        session: stat.session,
        threads: stat.threads,
    };
    Ok(folders.filter_map(|entry| stat(&entry.path())).map(row).collect())
}

#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
fn stat(folder: &Path) -> Option<Stat> {
    let (text, _) = read_bounded(File::open(folder.join("stat")).ok()?, 4096).ok()?;
    Stat::parse(&text).ok()
}

#[cfg(test)]
#[path = "first_test.rs"]
mod tests;
