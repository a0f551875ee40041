//! The helper processes that `run` and `capture` start; nobody types these.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use uuid::Uuid;

use super::{Error, Exit};
use crate::bundle::{Bag, seal};
use crate::capture::job::Job;
use crate::capture::message::{FromSeal, ToSeal};
use crate::history::segment;
use crate::history::stasher;
use crate::history::tree::{Bounds, Tree};
use crate::ipc::Channel;
use crate::system::spawn;
use crate::trigger::resolve;
use crate::{collect, door, plan};

/// A job holds a trigger's body (256 KiB, escaped at worst fivefold) and the probe's report.
const JOB_MAX: u64 = 4 << 20;
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
    },
    /// Closes a collector's bag (directory at descriptor 3).
    #[command(hide = true)]
    Seal {
        /// The capture.
        id: Uuid,
    },
    /// Keeps executables (channel at descriptor 3).
    #[command(hide = true)]
    Stasher {
        /// The stash.
        folder: PathBuf,
        /// `stasher::Limits` as JSON.
        limits: String,
    },
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
        Worker::Collect { id } => collect(*id),
        Worker::Seal { id } => close(*id),
        Worker::Stasher { folder, limits } => {
            let limits: stasher::Limits = serde_json::from_str(limits).map_err(Error::usage)?;
            let channel = Channel::new(inherited(spawn::FIRST)?);
            stasher::serve(&channel, folder, &limits).map_err(Error::failed)?;
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
fn collect(id: Uuid) -> Result<Exit, Error> {
    let directory = inherited(spawn::FIRST)?;
    let started = Instant::now();
    let job = read_job(&directory, id)?;
    // A victim's memory is worth more than ours: under memory pressure the collector goes first.
    drop(std::fs::write("/proc/self/oom_score_adj", "500"));
    let tree = read_history(&job);
    let mut targets = job.targets.clone();
    for found in resolve::resolve(&job.trigger, &tree, job.accepted) {
        if !targets.contains(&found.process) {
            targets.push(found.process);
        }
    }
    let plan = plan::plan(&job, &tree, &targets);
    let time = Duration::from_secs(job.limits.deadline_s);
    let deadline = started + time.saturating_sub(BEFORE_DEADLINE.min(time / 4));
    let mut bag = Bag::create(directory, id).map_err(Error::failed)?;
    let mut context = collect::Context::new(&job, &tree, &targets, plan, deadline);
    collect::run(&mut context, &mut bag, &mut |progress| tell(&progress)).map_err(Error::failed)?;
    bag.finish().map_err(Error::failed)?;
    Ok(Exit::Done)
}

fn read_history(job: &Job) -> Tree {
    let mut tree = Tree::new(Bounds::COLLECTOR);
    let hours = i64::try_from(job.limits.history_hours).unwrap_or(i64::MAX);
    let oldest = job.accepted.checked_sub(jiff::SignedDuration::from_hours(hours.min(100_000)));
    let oldest = oldest.unwrap_or(Timestamp::MIN);
    let segments =
        job.places.history.as_deref().and_then(|folder| segment::list(folder).ok()).unwrap_or_default();
    for segment in segment::since(&segments, oldest) {
        // A segment that is gone or damaged is an attempt's outcome when it is copied; here it is less to know.
        drop(segment::read_file(&segment.path, &mut |event| tree.apply(&event)));
    }
    if job.places.history.is_none() {
        let (running, _) = crate::kernel::scan(&job.places.proc, job.facts.boot);
        for event in &running {
            tree.apply(event);
        }
    }
    tree
}

/// Closes the bag; the supervisor signs.
fn close(id: Uuid) -> Result<Exit, Error> {
    let directory = inherited(spawn::FIRST)?;
    let job = read_job(&directory, id)?;
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
    match seal(directory.as_fd(), &job, ended, &mut sign) {
        Ok(sealed) => tell(&FromSeal::Sealed(sealed)),
        Err(failure) => tell(&FromSeal::Failed { reason: failure.to_string() }),
    }
    Ok(Exit::Done)
}

fn read_job(directory: &OwnedFd, id: Uuid) -> Result<Job, Error> {
    let name = format!("{id}.job");
    let fail = |reason: String| Error::failed(format!("cannot read the accepted capture {name}: {reason}"));
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file =
        openat(directory, name.as_str(), flags, Mode::empty()).map_err(|errno| fail(errno.to_string()))?;
    let reader = io::Read::take(File::from(file), JOB_MAX);
    serde_json::from_reader(io::BufReader::new(reader)).map_err(|failure| fail(failure.to_string()))
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
