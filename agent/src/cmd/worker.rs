//! The helper processes that `run` and `capture` start; nobody types these.

use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::{Error, Exit};
use crate::bundle::{Attempt, Bag, Outcome, seal};
use crate::capture::job::{self, Job};
use crate::capture::message::{FromSeal, ToSeal};
use crate::capture::recall::{self, Question, Recalled};
use crate::collect::{self, Progress, Spool};
use crate::history::compact;
use crate::history::retain::Hold;
use crate::history::stasher;
use crate::history::tree::{Bounds, Tree};
use crate::ipc::Channel;
use crate::kernel::Tasks;
use crate::system::{self, spawn};
use crate::trigger::resolve;
use crate::{door, gate, guard, plan, thaw};

/// Reading the history back may take this part of a capture's time: the living do not wait for it.
const READ_PART: u32 = 6;
/// Numbers of progress are told so often.
const TELL: Duration = Duration::from_millis(50);
/// The look around, which the plan needs, ends at this part of the time.
const LOOK_PART: u32 = 4;
/// The collector stops by itself this long before it would be ended from outside.
const BEFORE_DEADLINE: Duration = Duration::from_secs(5);

/// Helpers of `run` and `capture`.
#[derive(Debug, clap::Subcommand)]
pub enum Worker {
    /// Collects for one capture (directory at descriptor 3).
    #[command(hide = true)]
    Collect {
        /// The capture.
        id: Uuid,
        /// The kernel's own list of processes is at descriptor 4.
        #[arg(long)]
        tasks: bool,
    },
    /// Closes a collector's bag (directory at descriptor 3).
    #[command(hide = true)]
    Seal {
        /// The capture.
        id: Uuid,
    },
    /// Compacts the closed segments of a history.
    #[command(hide = true)]
    Compact {
        /// The history.
        folder: PathBuf,
    },
    /// Keeps executables (channel at descriptor 3).
    #[command(hide = true)]
    Stasher {
        /// The stash.
        folder: PathBuf,
        /// `stasher::Limits` as JSON.
        limits: String,
        /// The host's procfs.
        proc: PathBuf,
        /// The host's root.
        root: PathBuf,
    },
    /// Answers the kernel before a file is executed (channels at descriptors 3 and 4).
    #[command(hide = true)]
    Gate {
        /// `gate::message::Settings` as JSON.
        settings: String,
    },
    /// Does one of each thing that the probe shows, over the loopback interface, and ends.
    #[command(hide = true)]
    Canary,
    /// Lets go what the probe has stopped (channel at descriptor 3, the probe's list at 4).
    #[command(hide = true)]
    Thawer,
    /// Lets go what a collector holds, if the collector does not (channel at descriptor 3, the
    /// collector at 4).
    #[command(hide = true)]
    Guard,
    /// Speaks HTTP (channel at descriptor 3, listening socket at 4).
    #[command(hide = true)]
    Door {
        /// The user it becomes.
        uid: u32,
        /// The group it becomes.
        gid: u32,
    },
}

/// Runs one helper to its end.
pub fn run(worker: &Worker) -> Result<Exit, Error> {
    match worker {
        Worker::Collect { id, tasks } => collect(*id, *tasks),
        Worker::Seal { id } => close(*id),
        Worker::Compact { folder } => {
            // One that may take more than it should still does its work.
            if let Err(failure) = system::priority::yield_to_all() {
                tracing::warn!("cannot lower the priority: {failure}");
            }
            let done = compact::all(folder).map_err(Error::failed)?;
            let compact::Done { segments, before, after } = done;
            tracing::info!(segments, before, after, "the history is compacted");
            Ok(Exit::Done)
        }
        Worker::Stasher { folder, limits, proc, root } => {
            let limits: stasher::Limits = serde_json::from_str(limits).map_err(Error::usage)?;
            let channel = Channel::new(inherited(spawn::FIRST)?);
            let places = stasher::Places { proc: proc.clone(), root: root.clone() };
            stasher::serve(&channel, folder, &limits, &places).map_err(Error::failed)?;
            Ok(Exit::Done)
        }
        Worker::Gate { settings } => {
            let settings: gate::message::Settings = serde_json::from_str(settings).map_err(Error::usage)?;
            let control = Channel::new(inherited(spawn::FIRST)?).without_descriptors();
            let recorder = Channel::new(inherited(spawn::FIRST + 1)?).without_descriptors();
            gate::run(&control, &recorder, &settings).map_err(Error::failed)?;
            Ok(Exit::Done)
        }
        Worker::Canary => Ok(Exit::Canary(super::canary::sing())),
        Worker::Thawer => {
            let (channel, list) = (inherited(spawn::FIRST)?, inherited(spawn::FIRST + 1)?);
            thaw::serve(&Channel::new(channel), list).map_err(Error::failed)?;
            Ok(Exit::Done)
        }
        Worker::Guard => {
            let (channel, collector) = (inherited(spawn::FIRST)?, inherited(spawn::FIRST + 1)?);
            guard::serve(&Channel::new(channel), &collector).map_err(Error::failed)?;
            Ok(Exit::Done)
        }
        Worker::Door { uid, gid } => {
            let (channel, listener) = (inherited(spawn::FIRST)?, inherited(spawn::FIRST + 1)?);
            door::run(listener, channel, (*uid, *gid)).map_err(Error::failed)?;
            Ok(Exit::Done)
        }
    }
}

/// Reads the history back, finds whom the trigger means, collects.
fn collect(id: Uuid, tasks: bool) -> Result<Exit, Error> {
    let directory = inherited(spawn::FIRST)?;
    let tasks = if tasks { Some(Tasks::from(inherited(spawn::FIRST + 1)?)) } else { None };
    let started = Instant::now();
    let held = take(&directory, id)?;
    if !held.alone {
        return Err(Error::failed(format!("another process works on the capture {id}")));
    }
    let job = &held.job;
    // A victim's memory is worth more than ours: under memory pressure the collector goes first.
    drop(std::fs::write("/proc/self/oom_score_adj", "500"));
    let spool_in =
        directory.try_clone().map_err(|failure| Error::failed(format!("keep the store open: {failure}")))?;
    let mut bag = Bag::create(directory, id).map_err(Error::failed)?;
    let time = Duration::from_secs(job.limits.deadline_s);
    let deadline = started + time.saturating_sub(BEFORE_DEADLINE.min(time / 4));
    let mut progress = seldom();
    let held = collect::first(job, &mut bag, deadline, &mut progress).map_err(Error::failed)?;
    // To the end of the capture nothing goes from the stash.
    let _stash = job.places.stash.as_deref().and_then(stasher::hold);
    let spool = Spool::in_directory(spool_in.as_fd(), collect::reading_threads(), job.limits.spool_bytes);
    // The folder is the sealer's from here on.
    drop(spool_in);
    // What will be copied has to be there then.
    let window = job.places.history.as_deref().map(|folder| Hold::take(folder, oldest(job)));
    if let Some(Err(failure)) = &window {
        tracing::warn!("{failure}; retention may remove segments before they are copied");
    }
    let Recalled { tree, targets, unread } = read_history(job, started + time / READ_PART);
    if !unread.is_empty() {
        let attempt = Attempt {
            collection: "history".to_owned(),
            subject: "reading it back to find the processes".to_owned(),
            outcome: Outcome::Partial,
            detail: Some(unread.join("; ")),
            artifact: None,
            bytes: 0,
            at: Timestamp::now(),
            took_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        bag.attempt(&attempt).map_err(Error::failed)?;
    }
    let look = collect::look(&job.places.proc, job.facts.boot, &tree, started + time / LOOK_PART);
    let plan = plan::plan(job, &tree, &targets, &look.around);
    let mut context = collect::Context::new(job, &tree, &targets, plan, look, deadline);
    context.held = held;
    context.spool = spool;
    context.tasks = tasks;
    collect::run(&mut context, &mut bag, &mut progress).map_err(Error::failed)?;
    bag.finish().map_err(Error::failed)?;
    drop(window);
    Ok(Exit::Done)
}

/// What the history and /proc know of whom the trigger means.
pub(super) fn read_history(job: &Job, deadline: Instant) -> Recalled {
    let (running, _) = crate::kernel::scan(&job.places.proc, job.facts.boot);
    let mut unread = Vec::new();
    if let Some(folder) = &job.places.history {
        let question = Question {
            folder,
            trigger: &job.trigger,
            targets: &job.targets,
            running: &running,
            since: oldest(job),
            now: job.accepted,
        };
        match recall::recall(&question, deadline) {
            Ok(recalled) => return recalled,
            Err(failure) => unread.push(failure.to_string()),
        }
    }
    let mut tree = Tree::new(Bounds::COLLECTOR);
    for event in &running {
        tree.apply(event);
    }
    let mut targets = job.targets.clone();
    for found in resolve::resolve(&job.trigger, &tree, job.accepted) {
        if !targets.contains(&found.process) {
            targets.push(found.process);
        }
    }
    Recalled { tree, targets, unread }
}

/// Where the part of the history begins that goes into the bundle.
fn oldest(job: &Job) -> Timestamp {
    let hours = i64::try_from(job.limits.history_hours).unwrap_or(i64::MAX);
    let span = jiff::SignedDuration::try_from_hours(hours).unwrap_or(jiff::SignedDuration::MAX);
    job.accepted.saturating_sub(span).unwrap_or(Timestamp::MIN)
}

/// Closes the bag; the supervisor signs.
fn close(id: Uuid) -> Result<Exit, Error> {
    let directory = inherited(spawn::FIRST)?;
    let held = take(&directory, id)?;
    let job = &held.job;
    let mut lines = io::stdin().lock().lines();
    let mut hear = move || -> Result<ToSeal, String> {
        let line = lines.next().ok_or("the supervisor is gone")?.map_err(|failure| failure.to_string())?;
        serde_json::from_str(&line).map_err(|failure| failure.to_string())
    };
    let ended = match hear() {
        Ok(ToSeal::Close { ended }) => ended,
        Ok(ToSeal::Signature { .. }) => {
            return Err(Error::failed("a signature came before it was asked for"));
        }
        Err(reason) => return Err(Error::failed(reason)),
    };
    let mut sign = |tag_manifest: &[u8]| {
        let tag_manifest = String::from_utf8(tag_manifest.to_vec()).map_err(|failure| failure.to_string())?;
        tell(&FromSeal::Sign { tag_manifest });
        match hear()? {
            ToSeal::Signature { signature } => signature,
            ToSeal::Close { .. } => Err("the supervisor repeats itself".to_owned()),
        }
    };
    match seal(directory.as_fd(), job, ended, &mut sign) {
        Ok(sealed) => tell(&FromSeal::Sealed(sealed)),
        Err(failure) => tell(&FromSeal::Failed { reason: failure.to_string() }),
    }
    Ok(Exit::Done)
}

fn take(directory: &OwnedFd, id: Uuid) -> Result<job::Held, Error> {
    job::hold(directory, id)
        .map_err(|failure| Error::failed(format!("cannot read the accepted capture {id}.job: {failure}")))
}

/// Tells the supervisor how far it is, but numbers alone not more often than it takes to see them: each time wakes two
/// processes.
fn seldom() -> impl FnMut(Progress) {
    let mut last: Option<(Instant, Progress)> = None;
    move |progress| {
        let same = |other: &Progress| {
            let Progress { done, total, bytes, .. } = progress;
            Progress { done, total, bytes, ..other.clone() } == progress
        };
        if !last.as_ref().is_some_and(|(when, told)| when.elapsed() < TELL && same(told)) {
            tell(&progress);
            last = Some((Instant::now(), progress));
        }
    }
}

/// One line to the supervisor. When it is gone, so are we (by the kernel's hand).
fn tell(message: &impl serde::Serialize) {
    let mut out = io::stdout().lock();
    if let Ok(mut line) = serde_json::to_vec(message) {
        line.push(b'\n');
        drop(out.write_all(&line).and_then(|()| out.flush()));
    }
}

fn inherited(number: i32) -> Result<OwnedFd, Error> {
    spawn::inherited(number).map_err(|failure| {
        Error::usage(format!(
            "descriptor {number} was not handed over ({failure}); `afterimage run` starts this itself"
        ))
    })
}
