//! Lets go what the probe has stopped: processes whose executable has no file (ebpf/src/hold.rs).
//!
//! Three who do it, so that nothing stays stopped whoever dies: the recorder as soon as the executable is open; the
//! *thawer*, a process that survives the recorder, after a deadline or at the recorder's end; and the next recorder at
//! its start, which knows a process that never ran an instruction by where it stands.

mod entry;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::event::ProcessId;
use crate::ipc::{self, Channel};
use crate::proc::Stat;
use crate::system::stat::known_attributes;

/// The longest that anything may be stopped.
const DEADLINE: Duration = Duration::from_millis(500);
/// How often the thawer looks.
const LOOK: Duration = Duration::from_millis(100);
/// A clock tick of /proc in nanoseconds.
const TICK: u64 = 10_000_000;

/// Why it cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptor is not what the probe made.
    #[error("cannot open the list of stopped processes: {0}")]
    Map(#[from] aya::maps::MapError),
    /// It could not be handed over.
    #[error("cannot hand over the list of stopped processes: {0}")]
    File(#[from] io::Error),
    /// Waiting failed.
    #[error("cannot wait for the recorder: {0}")]
    Wait(#[from] Errno),
    /// The recorder's end of the channel.
    #[error(transparent)]
    Ipc(#[from] ipc::Error),
}

/// The probe's list of who is stopped.
pub struct Held(HashMap<MapData, u32, [u64; 2]>);

impl Held {
    /// From a descriptor of the map.
    pub fn open(map: OwnedFd) -> Result<Self, Error> {
        Ok(Self(HashMap::try_from(Map::HashMap(MapData::from_fd(map)?))?))
    }

    /// Lets `process` go.
    pub fn release(&mut self, process: ProcessId) {
        resume(process.pid);
        self.strike(process.pid);
    }

    /// Lets all go that are stopped for `longest` or more; how many.
    fn release_older(&mut self, longest: Duration) -> usize {
        let now = boot_time();
        let mut released = 0;
        let all: Vec<(u32, [u64; 2])> = self.0.iter().filter_map(Result::ok).collect();
        for (pid, [start, since]) in all {
            if now.saturating_sub(Duration::from_nanos(since)) < longest {
                continue;
            }
            // A pid that means another process by now is struck only.
            if started(Path::new("/proc"), pid) == Some(start / TICK) {
                resume(pid);
                released += 1;
            }
            self.strike(pid);
        }
        released
    }

    fn strike(&mut self, pid: u32) {
        // It may be struck already, by the other of those who let go.
        if let Err(failure) = self.0.remove(&pid) {
            tracing::debug!(pid, "not in the list of stopped processes any more: {failure}");
        }
    }
}

/// The thawer: lets go what is stopped for too long, and everything when the recorder has ended.
pub fn serve(channel: &Channel, map: OwnedFd) -> Result<(), Error> {
    let mut held = Held::open(map)?;
    let timeout = PollTimeout::from(u16::try_from(LOOK.as_millis()).unwrap_or(u16::MAX));
    loop {
        let mut set = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        let recorder_has_ended = match poll(&mut set, timeout) {
            // It never says anything: only its end can be read.
            Ok(ready) => ready > 0,
            Err(Errno::EINTR) => false,
            Err(failure) => return Err(failure.into()),
        };
        let longest = if recorder_has_ended { Duration::ZERO } else { DEADLINE };
        let released = held.release_older(longest);
        if released > 0 {
            tracing::warn!(
                released,
                "processes without a file were let go by the thawer: the recorder was late"
            );
        }
        if recorder_has_ended {
            return Ok(());
        }
    }
}

/// Lets go what an earlier recorder and its thawer left stopped; how many. Nothing else: a process that somebody stopped
/// has run before.
pub fn release_left_behind(proc: &Path) -> usize {
    let Ok(entries) = fs::read_dir(proc) else { return 0 };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let left: Vec<u32> = pids.filter(|&pid| is_left_behind(&proc.join(pid.to_string()))).collect();
    for &pid in &left {
        resume(pid);
    }
    left.len()
}

fn is_left_behind(folder: &Path) -> bool {
    let stopped = fs::read(folder.join("stat"))
        .is_ok_and(|text| Stat::parse(&text).is_ok_and(|stat| stat.state == b'T'));
    stopped
        && known_attributes(&folder.join("exe")).is_ok_and(|file| file.links == 0)
        && entry::stands_at_its_entry(folder)
}

fn started(proc: &Path, pid: u32) -> Option<u64> {
    let text = fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    Stat::parse(&text).ok().map(|stat| stat.start)
}

fn resume(pid: u32) {
    let Ok(number) = i32::try_from(pid) else { return };
    match kill(Pid::from_raw(number), Signal::SIGCONT) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(failure) => tracing::error!(pid, "cannot let go a stopped process: {}", io::Error::from(failure)),
    }
}

/// Time since boot, suspended time included; zero when it cannot be read.
pub fn boot_time() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
