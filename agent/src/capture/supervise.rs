//! Watches one capture: collector, deadline, seal, signature.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::job::Job;
use super::message::{FromSeal, ToSeal};
use crate::bundle::seal::{Ended, Sealed};
use crate::collect::Progress;
use crate::kernel::Tasks;
use crate::system::spawn;

/// The longest line a helper may write.
const LINE_MAX: usize = 1 << 20;
/// How long a killed collector may take to die before it is left behind (it may hang in the kernel for ever).
const REAP: Duration = Duration::from_secs(5);
/// How long sealing may take, beyond the time that collecting may.
const SEAL_BASE: Duration = Duration::from_mins(2);

/// Why a capture ended without a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A helper process cannot be started or spoken to.
    #[error("cannot {step} the {helper} of capture {id}: {source}")]
    Helper {
        /// What was tried.
        step: &'static str,
        /// Which process.
        helper: &'static str,
        /// The capture.
        id: uuid::Uuid,
        /// Why.
        source: io::Error,
    },
    /// The seal worker gave up.
    #[error("capture {id} could not be sealed: {reason}")]
    Seal {
        /// The capture.
        id: uuid::Uuid,
        /// Its words.
        reason: String,
    },
}

/// Signs a tag manifest; the words of a refusal otherwise.
pub type Sign<'a> = dyn FnMut(&[u8]) -> Result<String, String> + 'a;

/// Runs the collector to its end, whatever that is, and seals the bundle. With `tasks` it can compare the kernel's own list of
/// processes with what /proc shows.
pub fn run(
    job: &Job,
    dir: BorrowedFd<'_>,
    tasks: Option<&Tasks>,
    sign: &mut Sign<'_>,
    report: &mut dyn FnMut(Progress),
) -> Result<Sealed, Error> {
    let ended = collect(job, dir, tasks, report)?;
    seal(job, dir, &ended, sign)
}

/// Runs the collector until it ends or its time is over.
fn collect(
    job: &Job,
    dir: BorrowedFd<'_>,
    tasks: Option<&Tasks>,
    report: &mut dyn FnMut(Progress),
) -> Result<Ended, Error> {
    let fail = |step| move |source| Error::Helper { step, helper: "collector", id: job.id, source };
    let id = job.id.to_string();
    let mut arguments = vec![OsStr::new("collect"), OsStr::new(&id)];
    let mut inherited = vec![dir.try_clone_to_owned().map_err(fail("start"))?];
    if let Some(tasks) = tasks {
        arguments.push(OsStr::new("--tasks"));
        inherited.push(tasks.as_fd().try_clone_to_owned().map_err(fail("start"))?);
    }
    let mut child =
        spawn::ourselves(&arguments, &inherited, Stdio::null(), Stdio::piped()).map_err(fail("start"))?;
    let deadline = Instant::now() + Duration::from_secs(job.limits.deadline_s);
    let mut lines = Lines::new(&mut child).map_err(fail("listen to"))?;
    let mut holds = None;
    let late = loop {
        match lines.next(deadline) {
            Ok(Some(line)) => {
                if let Ok(progress) = serde_json::from_slice::<Progress>(&line) {
                    holds.clone_from(&progress.holds);
                    report(progress);
                }
            }
            Ok(None) => break false,
            Err(failure) if failure.kind() == io::ErrorKind::TimedOut => break true,
            Err(failure) => return Err(fail("listen to")(failure)),
        }
    };
    if late {
        child.kill().map_err(fail("end"))?;
    }
    let status = reap(&mut child, if late { REAP } else { REAP * 2 }).map_err(fail("wait for"))?;
    let why = match status {
        _ if late => format!("the deadline of {} s was over", job.limits.deadline_s),
        Some(status) if status.success() => return Ok(Ended::Finished),
        Some(status) => format!("the collector ended early: {status}"),
        None => "the collector hangs in the kernel and could not be ended".to_owned(),
    };
    // The kernel and the guard see to that, whoever looks.
    let held = holds.map(|what| format!("; it held {what} still, which was let go with its end"));
    Ok(Ended::Killed { why: why + &held.unwrap_or_default() })
}

/// Closes the bag of a collector that has ended, in a fresh process, and signs it.
pub fn seal(job: &Job, dir: BorrowedFd<'_>, ended: &Ended, sign: &mut Sign<'_>) -> Result<Sealed, Error> {
    let fail = |step| move |source| Error::Helper { step, helper: "seal worker", id: job.id, source };
    let id = job.id.to_string();
    let arguments = [OsStr::new("seal"), OsStr::new(&id)];
    let dir = dir.try_clone_to_owned().map_err(fail("start"))?;
    let mut child =
        spawn::ourselves(&arguments, &[dir], Stdio::piped(), Stdio::piped()).map_err(fail("start"))?;
    let deadline = Instant::now() + SEAL_BASE + Duration::from_secs(job.limits.deadline_s);
    let mut stdin = child.stdin.take().ok_or_else(|| fail("speak to")(io::ErrorKind::BrokenPipe.into()))?;
    let mut lines = Lines::new(&mut child).map_err(fail("listen to"))?;
    let mut tell = |message: &ToSeal| -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        stdin.write_all(&line)
    };
    tell(&ToSeal::Close { ended: ended.clone() }).map_err(fail("speak to"))?;
    let outcome = loop {
        let line = match lines.next(deadline) {
            Ok(Some(line)) => line,
            Ok(None) => break Err("the seal worker ended without a word".to_owned()),
            Err(failure) => break Err(failure.to_string()),
        };
        match serde_json::from_slice(&line) {
            Ok(FromSeal::Sign { tag_manifest }) => {
                let signature = sign(tag_manifest.as_bytes());
                tell(&ToSeal::Signature { signature }).map_err(fail("speak to"))?;
            }
            Ok(FromSeal::Sealed(sealed)) => break Ok(sealed),
            Ok(FromSeal::Failed { reason }) => break Err(reason),
            Err(failure) => break Err(failure.to_string()),
        }
    };
    if outcome.is_err() {
        // It may still run; two seals of one bag must not.
        child.kill().map_err(fail("end"))?;
    }
    reap(&mut child, REAP).map_err(fail("wait for"))?;
    outcome.map_err(|reason| Error::Seal { id: job.id, reason })
}

/// Waits for the end of `child`; `None` when it takes longer than `patience`.
fn reap(child: &mut Child, patience: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lines of a helper, read with a deadline.
struct Lines {
    pipe: ChildStdout,
    buffer: Vec<u8>,
}

impl Lines {
    fn new(child: &mut Child) -> io::Result<Self> {
        let pipe = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { pipe, buffer: Vec::new() })
    }

    /// The next line without its end; `None` at the end of the pipe, `TimedOut` after `deadline`.
    fn next(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.buffer.len() > LINE_MAX {
                return Err(io::Error::other("a helper wrote a line that is too long"));
            }
            if !self.wait(deadline)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut chunk = [0; 8192];
            let count = self.pipe.read(&mut chunk)?;
            match chunk.get(..count) {
                Some(chunk) if !chunk.is_empty() => self.buffer.extend_from_slice(chunk),
                _ => return Ok(None),
            }
        }
    }

    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Rounded up: a wait of 0 ms would spin through the last millisecond.
            let left = u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
            let mut set = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            match poll(&mut set, PollTimeout::from(left)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}
