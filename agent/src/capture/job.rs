//! What a collector is told: everything it needs, in one file beside the bundle in the making.
//!
//! `<id>.job` is written before the trigger is answered, so that an accepted capture survives the recorder.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{BootId, Event, ProcessId};
use crate::trigger::{Profile, Trigger};

/// One accepted capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// UUIDv7: the bundle's name, and its order in time.
    pub id: Uuid,
    /// When the trigger was accepted.
    pub accepted: Timestamp,
    /// Why.
    pub trigger: Trigger,
    /// The trigger as it came (a webhook's body), escaped.
    pub raw: crate::text::Bytes,
    /// Whom the resolver found in the recorder's memory; the collector looks through the history on disk as well.
    pub targets: Vec<ProcessId>,
    /// How much to take.
    pub profile: Profile,
    /// Bounds.
    pub limits: Limits,
    /// Where things are.
    pub places: Places,
    /// What the recorder knows about itself and the host at this moment.
    pub facts: Facts,
}

/// A job holds a trigger's body (256 KiB, escaped at worst fivefold) and the probe's report.
const JOB_MAX: u64 = 4 << 20;
/// How long a sealer waits for a collector that was killed and still hangs in the kernel. It cannot write any more.
const HELD: Duration = Duration::from_secs(10);

/// A job that this process works on: no other collector or sealer touches its bag as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// What is to be done.
    pub job: Job,
    /// Whether it is ours alone; a killed collector that hangs in the kernel keeps its lock for ever.
    pub alone: bool,
    _lock: Result<Flock<File>, File>,
}

/// Takes the job `id` in `directory` for this process.
pub fn hold(directory: &OwnedFd, id: Uuid) -> io::Result<Held> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = File::from(openat(directory, format!("{id}.job").as_str(), flags, Mode::empty())?);
    let owner = fstat(&file)?;
    if owner.st_uid != nix::unistd::geteuid().as_raw() || owner.st_nlink != 1 {
        return Err(io::Error::other("it belongs to another user, or has a second name"));
    }
    let deadline = Instant::now() + HELD;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    while let Err((file, Errno::EWOULDBLOCK)) = lock {
        if Instant::now() >= deadline {
            lock = Err((file, Errno::EWOULDBLOCK));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    }
    let lock = match lock {
        Ok(lock) => Ok(lock),
        Err((file, Errno::EWOULDBLOCK)) => Err(file),
        Err((_, failure)) => return Err(failure.into()),
    };
    let file: &File = match &lock {
        Ok(lock) => lock,
        Err(file) => file,
    };
    let reader = io::Read::take(file, JOB_MAX);
    let job = serde_json::from_reader(io::BufReader::new(reader))?;
    Ok(Held { job, alone: lock.is_ok(), _lock: lock })
}

/// Whether only root, or this user, can replace files in `directory`: the bag in the making lies there, and what is
/// in it is signed.
pub fn is_ours(directory: &OwnedFd) -> io::Result<bool> {
    let found = fstat(directory)?;
    let mode = Mode::from_bits_truncate(found.st_mode);
    let owned = found.st_uid == 0 || found.st_uid == nix::unistd::geteuid().as_raw();
    let shared = mode.intersects(Mode::S_IWGRP | Mode::S_IWOTH) && !mode.contains(Mode::S_ISVTX);
    Ok(owned && !shared)
}

/// Why a directory of somebody else's is refused.
pub const NOT_OURS: &str = "the directory for the bundle belongs to another user, or others may write into it: they \
                            could replace evidence before it is signed; choose one of root's (mode 0755 or less)";

/// Whether another process works on the job at `path`.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(Flock::lock(file, FlockArg::LockExclusiveNonblock), Err((_, Errno::EWOULDBLOCK)))
}

/// How processes are held still while their memory is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// As fits: a whole container or service by its cgroup, else by ptrace, else by a stop signal.
    #[default]
    Auto,
    /// By their cgroup wherever all of it is read, else by ptrace.
    Cgroup,
    /// By ptrace only, which nobody sees.
    Ptrace,
    /// By a stop signal, which their parents see.
    Stop,
    /// Not at all.
    None,
}

/// Bounds of one capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall seconds until the collector is ended and what it has is sealed.
    pub deadline_s: u64,
    /// Bytes of evidence, before compression.
    pub bytes: u64,
    /// Of these, bytes of process memory.
    pub memory_bytes: u64,
    /// Bytes of memory in which the collector holds what it copied while a process stood still.
    pub buffer_bytes: u64,
    /// Bytes on disk, beside the bundle in the making, for what does not fit into that.
    pub spool_bytes: u64,
    /// Of each process, bytes of pages that are the same in their file; of the rest only the file's hash is taken.
    pub file_page_bytes: u64,
    /// Bytes of any one file or log.
    pub file_bytes: u64,
    /// Entries of directories that the body file lists.
    pub body_entries: u64,
    /// How far back the history goes into the bundle, in hours.
    pub history_hours: u64,
    /// How processes are held still while their memory is read.
    pub freeze: Freeze,
    /// Bytes of the whole RAM, apart from the other evidence.
    pub ram_bytes: u64,
    /// How the whole RAM is taken where the profile asks for it.
    pub ram: Ram,
    /// What is left out, and said to be: it may hold passwords and keys.
    pub omit: Vec<Omit>,
}

/// The form of an image of the whole RAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ram {
    /// LiME: the bytes as they are, which the bundle compresses.
    #[default]
    Lime,
    /// AVML, version 2: Snappy frames; without the blocks that hold nothing but zeros.
    Avml,
    /// It is not taken.
    None,
}

/// Something that a policy may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Omit {
    /// Environments of processes.
    Environment,
    /// Memory of processes.
    Memory,
}

/// The detail of what was left out so.
pub const BY_POLICY: &str = "left out by policy (`capture.omit`)";

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline_s: 300,
            bytes: 8 << 30,
            memory_bytes: 4 << 30,
            buffer_bytes: 160 << 20,
            spool_bytes: 2 << 30,
            file_page_bytes: 256 << 20,
            file_bytes: 256 << 20,
            body_entries: 2_000_000,
            history_hours: 24,
            freeze: Freeze::Auto,
            ram_bytes: 64 << 30,
            ram: Ram::default(),
            omit: Vec::new(),
        }
    }
}

/// Where things are on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// procfs.
    pub proc: PathBuf,
    /// The root of the host's files (`/`, or where they are mounted when the agent runs in a container).
    pub root: PathBuf,
    /// History segments; `None` when there is no recorder.
    pub history: Option<PathBuf>,
    /// The stash.
    pub stash: Option<PathBuf>,
}

/// What the recorder knows about itself and the host; goes into `capture.json` as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// This boot.
    pub boot: BootId,
    /// `/etc/machine-id`, or 32 zeros.
    pub machine_id: String,
    /// Host name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Version of the agent.
    pub version: String,
    /// SHA-256 of the configuration in force.
    pub config_sha256: String,
    /// Whether the agent lives in the initial PID namespace, and so sees the whole host.
    pub initial_pid_namespace: bool,
    /// The probe's report (offsets, attached programs, self-check), or why there is none.
    pub probe: serde_json::Value,
    /// Events attempted, kept and lost since the recorder started, as counted in the kernel and here.
    pub counts: serde_json::Value,
    /// Gaps and losses that touch the history's window, oldest first; as in the history. Those that go on end with the
    /// trigger.
    #[serde(default)]
    pub gaps: Vec<Event>,
    /// Own activity during the capture that changes the host: what, in words.
    pub changes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_job_is_held_by_one_process_and_let_go_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.job");
        std::fs::write(&path, "{}").unwrap();
        assert!(!is_held(&path) && !is_held(&path.with_extension("none")));
        let file = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
        assert!(is_held(&path));
        drop(file);
        assert!(!is_held(&path));
    }

    #[test]
    fn a_directory_that_others_may_write_is_not_ours_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, ours) in [(0o700, true), (0o755, true), (0o777, false), (0o775, false), (0o1777, true)] {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let directory = OwnedFd::from(File::open(folder.path()).unwrap());
            assert_eq!(is_ours(&directory).unwrap(), ours, "{mode:o}");
        }
    }
}
