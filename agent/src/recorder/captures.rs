//! Captures, from the accepted trigger to the sealed bundle.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use jiff::Timestamp;
use nix::fcntl::{OFlag, openat};
use nix::sys::eventfd::EventFd;
use nix::sys::stat::Mode;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::record::{Record, Records};
use crate::bundle::seal::{self, Ended, Sealed};
use crate::bundle::sign::Key;
use crate::capture::job::{self, Job};
use crate::capture::supervise;
use crate::collect::Progress;
use crate::config;
use crate::ipc::message::{BundleState, CaptureState, Stage};
use crate::kernel::Tasks;
use crate::text;

/// Messages of the supervising threads that may wait for the recorder.
const MESSAGES: usize = 256;

/// Something happened to a capture.
pub(super) enum Happening {
    /// Its collector is so far.
    Progress(Uuid, Progress),
    /// It ended.
    Ended(Uuid, Result<Sealed, String>),
    /// An earlier recorder had sealed its bundle, and had not written that down: bytes and SHA-256.
    Found(Uuid, Result<(u64, String), String>),
}

/// What becomes of a trigger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A capture will be made.
    Accepted(Uuid),
    /// It is made, or was, for the same alert.
    Duplicate(Uuid),
    /// This very message was accepted before.
    Replay,
    /// Too many wait.
    Busy,
    /// Something is in the way.
    Refused(String),
}

/// A trigger that asks for a capture.
pub(super) struct Order {
    /// What the collector will be told.
    pub(super) job: Job,
    /// A directory of the user's choice instead of the store.
    pub(super) directory: Option<OwnedFd>,
    /// A signed message's own id.
    pub(super) message: Option<String>,
}

/// What is left to do.
enum Work {
    /// All of it.
    Collect(Box<Job>),
    /// An earlier collector ended like this: only sealing.
    Seal(Box<Job>, Ended),
    /// The bundle is there: only its hash is not known.
    Digest(Uuid),
}

struct Waiting {
    work: Work,
    directory: OwnedFd,
}

impl Work {
    fn id(&self) -> Uuid {
        match self {
            Self::Collect(job) | Self::Seal(job, _) => job.id,
            Self::Digest(id) => *id,
        }
    }
}

/// All captures.
pub(super) struct Captures {
    limits: config::Captures,
    store: OwnedFd,
    key: Arc<Key>,
    tasks: Option<Arc<Tasks>>,
    records: Records,
    queue: VecDeque<Waiting>,
    running: BTreeSet<Uuid>,
    messages: (SyncSender<Happening>, Receiver<Happening>),
    wake: Arc<EventFd>,
}

impl Captures {
    /// Opens the store and takes up what an earlier recorder left: what it had begun is sealed, what it had only
    /// accepted is captured now.
    pub(super) fn open(
        store: &Path,
        records: &Path,
        limits: &config::Captures,
        key: Arc<Key>,
        tasks: Option<Arc<Tasks>>,
        wake: Arc<EventFd>,
    ) -> io::Result<Self> {
        let mut captures = Self {
            limits: limits.clone(),
            store: OwnedFd::from(File::open(store)?),
            key,
            tasks,
            records: Records::open(records)?,
            queue: VecDeque::new(),
            running: BTreeSet::new(),
            messages: sync_channel(MESSAGES),
            wake,
        };
        captures.take_up(store)?;
        captures.start_waiting();
        Ok(captures)
    }

    /// What an earlier recorder had begun is sealed, what it had only accepted is captured now; a record without
    /// either gets its bundle, or its failure.
    fn take_up(&mut self, store: &Path) -> io::Result<()> {
        let why = "the recorder ended while it ran";
        for job in super::record::leftover_jobs(store)? {
            let begun = store.join(format!("{}.partial", job.id)).exists();
            tracing::warn!(id = %job.id, begun, "an earlier recorder left this capture; it is taken up");
            if self.records.get(&job.id).is_none() {
                self.records.keep(Record::new(&job, None))?;
            }
            let directory = self.store.try_clone()?;
            let job = Box::new(job);
            let ended = Ended::Killed { why: why.to_owned() };
            self.queue.push_back(Waiting {
                directory,
                work: if begun { Work::Seal(job, ended) } else { Work::Collect(job) },
            });
        }
        for (id, in_store) in self.records.unsettled() {
            if self.queue.iter().any(|waiting| waiting.work.id() == id) {
                continue;
            }
            if in_store && store.join(seal::file_name(id)).exists() {
                self.queue.push_back(Waiting { directory: self.store.try_clone()?, work: Work::Digest(id) });
            } else {
                let outcome =
                    Err(format!("{why}; what it had written into a --output directory is there still"));
                self.records.ended(id, &outcome)?;
            }
        }
        Ok(())
    }

    /// Accepts a trigger, or says why not. What is accepted is on disk before this returns.
    pub(super) fn order(&mut self, order: Order) -> Answer {
        let Order { job, directory, message } = order;
        if let Some(message) = &message
            && self.records.has_message(message)
        {
            return Answer::Replay;
        }
        if let Some(key) = &job.trigger.dedup_key
            && let Some(id) = self.records.by_alert(&job.trigger.sender, key)
        {
            return Answer::Duplicate(id);
        }
        if self.queue.len() >= self.limits.waiting {
            return Answer::Busy;
        }
        match self.accept(job, directory, message) {
            Ok(id) => Answer::Accepted(id),
            Err(reason) => Answer::Refused(reason),
        }
    }

    /// What has happened since the last call.
    pub(super) fn happenings(&mut self) -> Vec<Happening> {
        let all: Vec<Happening> = self.messages.1.try_iter().collect();
        for happening in &all {
            match happening {
                Happening::Progress(id, progress) => self.records.progress(*id, progress),
                Happening::Ended(id, outcome) => {
                    self.running.remove(id);
                    if let Err(failure) = self.records.ended(*id, outcome) {
                        tracing::error!(%id, "{failure}; the record of this capture is incomplete");
                    }
                }
                Happening::Found(id, outcome) => {
                    self.running.remove(id);
                    if let Err(failure) = self.records.found(*id, outcome) {
                        tracing::error!(%id, "{failure}; the record of this capture is incomplete");
                    }
                }
            }
        }
        self.start_waiting();
        all
    }

    /// All captures that are remembered, newest first.
    pub(super) fn states(&self) -> impl Iterator<Item = &CaptureState> {
        self.records.states()
    }

    /// One capture.
    pub(super) fn state(&self, id: &Uuid) -> Option<&CaptureState> {
        self.records.get(id).map(|record| &record.state)
    }

    /// A sealed bundle of the store, opened for reading.
    pub(super) fn open_bundle(&self, id: &Uuid) -> Option<(BundleState, OwnedFd)> {
        let bundle = self.state(id)?.bundle.clone()?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = openat(&self.store, bundle.file.as_str(), flags, Mode::empty()).ok()?;
        Some((bundle, file))
    }

    /// How many run and wait.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.running.len(), self.queue.len())
    }

    fn accept(
        &mut self,
        job: Job,
        directory: Option<OwnedFd>,
        message: Option<String>,
    ) -> Result<Uuid, String> {
        let given = directory.is_some();
        let directory =
            directory.map_or_else(|| self.store.try_clone(), Ok).map_err(|failure| failure.to_string())?;
        if !job::is_ours(&directory).map_err(|failure| failure.to_string())? {
            return Err(job::NOT_OURS.to_owned());
        }
        let free = crate::store::free_bytes(directory.as_fd()).map_err(|failure| failure.to_string())?;
        if free < self.limits.reserve_bytes {
            return Err(format!(
                "only {free} bytes are free where the bundle would go, and captures.reserve_bytes = {} stay free; make \
                 room or lower it",
                self.limits.reserve_bytes
            ));
        }
        write_job(&directory, &job)
            .map_err(|failure| format!("cannot write down the accepted capture: {failure}"))?;
        let mut record = Record::new(&job, message);
        record.in_store = !given;
        self.records
            .keep(record)
            .map_err(|failure| format!("cannot write down the accepted capture: {failure}"))?;
        let id = job.id;
        self.queue.push_back(Waiting { work: Work::Collect(Box::new(job)), directory });
        self.start_waiting();
        Ok(id)
    }

    fn start_waiting(&mut self) {
        while self.running.len() < self.limits.running
            && let Some(next) = self.queue.pop_front()
        {
            let id = next.work.id();
            let collects = matches!(next.work, Work::Collect(_));
            self.records.stage(id, if collects { Stage::Collecting } else { Stage::Sealing });
            self.running.insert(id);
            let (key, messages, wake) = (self.key.clone(), self.messages.0.clone(), self.wake.clone());
            let tasks = self.tasks.clone();
            let spawned = std::thread::Builder::new()
                .name(format!("capture {id}"))
                .spawn(move || supervised(&next, (&key, tasks.as_deref()), &messages, &wake));
            if let Err(failure) = spawned {
                self.running.remove(&id);
                let outcome = Err(format!("no thread to watch it: {failure}"));
                if let Err(failure) = self.records.ended(id, &outcome) {
                    tracing::error!(%id, "{failure}");
                }
            }
        }
    }
}

/// The body of a supervising thread.
fn supervised(
    waiting: &Waiting,
    (key, tasks): (&Key, Option<&Tasks>),
    messages: &SyncSender<Happening>,
    wake: &EventFd,
) {
    let id = waiting.work.id();
    let tell = |happening| {
        // The recorder is gone only when the whole process ends.
        drop(messages.send(happening));
        if let Err(errno) = wake.write(1) {
            tracing::debug!("the recorder is awake already: {errno}");
        }
    };
    let mut sign = |manifest: &[u8]| key.sign(manifest).map_err(|failure| failure.to_string());
    let mut report = |progress| tell(Happening::Progress(id, progress));
    let directory = waiting.directory.as_fd();
    let outcome = match &waiting.work {
        Work::Collect(job) => supervise::run(job, directory, tasks, &mut sign, &mut report),
        Work::Seal(job, ended) => supervise::seal(job, directory, ended, &mut sign),
        Work::Digest(id) => {
            let found = digest(&waiting.directory, *id).map_err(|failure| failure.to_string());
            return tell(Happening::Found(*id, found));
        }
    };
    tell(Happening::Ended(id, outcome.map_err(|failure| failure.to_string())));
}

/// Size and SHA-256 of a sealed bundle.
fn digest(directory: &OwnedFd, id: Uuid) -> io::Result<(u64, String)> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut file = File::from(openat(directory, seal::file_name(id).as_str(), flags, Mode::empty())?);
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut file, &mut hash)?;
    Ok((bytes, text::hex(&hash.finalize())))
}

/// Writes `<id>.job`, so that it is there after a crash.
pub fn write_job(directory: &OwnedFd, job: &Job) -> io::Result<()> {
    let name = format!("{}.job", job.id);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(directory, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    file.write_all(&serde_json::to_vec(job)?)?;
    file.sync_all()?;
    Ok(nix::unistd::fsync(directory)?)
}

/// The time of an UUIDv7 is the order of the bundles.
pub fn new_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds))
}
