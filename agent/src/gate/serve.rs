//! The gate's loop: answer, hand over, follow the mounts.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::{FanotifyEvent, MaskFlags};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, fstatfs};

use super::group::Group;
use super::marks::Marker;
use super::message::{Forget, FromGate, HandOver, Settings, ToGate};
use super::table::Table;
use super::{Error, failed};
use crate::history::state::FileState;
use crate::ipc::{self, Channel};
use crate::system::process::{Attributes, statx};
use crate::text::Bytes;

/// Files whose last state is remembered.
const FILES_MAX: usize = 65_536;
/// How long, in milliseconds, one program may wait because the recorder is behind; those after it do not wait.
const PATIENCE_MS: u16 = 50;
/// Processes that are looked at for one mount namespace.
const PIDS_MAX: usize = 4;
/// Group and others may write.
const WRITABLE: u32 = 0o022;

/// The gate.
struct Gate<'a> {
    group: Group,
    marker: Marker,
    table: Table,
    control: &'a Channel,
    recorder: &'a Channel,
    /// Files that were executed and not handed over since the channel was full, and the first one's time.
    missed: u64,
    since: Timestamp,
}

/// What happened to a file that was to be handed over.
#[derive(PartialEq, Eq)]
enum Fate {
    Sent,
    Missed,
}

/// Answers until the recorder is gone. `control` is for signs of life, files are handed over through `recorder`.
pub fn run(control: &Channel, recorder: &Channel, settings: &Settings) -> Result<(), Error> {
    let (group, marker) = match Group::new().and_then(|group| Ok((group, Marker::new(settings)?))) {
        Ok(pair) => pair,
        Err(failure) => {
            control.send(&FromGate::Refused { reason: failure.to_string() }, &[])?;
            return Ok(());
        }
    };
    let table = Table::new(FILES_MAX);
    let mut gate = Gate { group, marker, table, control, recorder, missed: 0, since: Timestamp::now() };
    gate.take_ourselves();
    gate.mark()?;
    while gate.turn()? {}
    Ok(())
}

impl Gate<'_> {
    /// Waits for a sign and looks at everything once. `false` when the recorder is gone.
    fn turn(&mut self) -> Result<bool, Error> {
        let changed = PollFlags::POLLPRI | PollFlags::POLLERR;
        let mut all = [
            PollFd::new(self.group.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.recorder.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.marker.as_fd(), changed),
        ];
        match poll(&mut all, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("wait for questions")(errno)),
        }
        let [_, _, _, mounts] = all.map(|one| one.revents().unwrap_or(PollFlags::empty()));
        for event in self.group.events() {
            self.answer(&event);
        }
        if mounts.intersects(changed) {
            self.mark()?;
        }
        Ok(self.listen()? && self.forget()?)
    }

    /// Every way ends with yes.
    fn answer(&mut self, event: &FanotifyEvent) {
        let Some(file) = event.fd() else { return };
        let pid = u32::try_from(event.pid()).unwrap_or(0);
        if event.mask().contains(MaskFlags::FAN_OPEN_EXEC_PERM) {
            self.executed(file, pid);
            self.group.allow(file);
        } else {
            self.written(file, pid);
        }
    }

    /// A file is executed: hands it over, unless that was done in this very state.
    fn executed(&mut self, file: BorrowedFd<'_>, pid: u32) {
        let Ok(known) = statx(file, c"") else { return };
        // A process outside our PID namespace (0) is not ours to look at.
        if !known.is_file() || pid == 0 {
            return;
        }
        let state = FileState::of(&known);
        if self.table.contains(&state) || self.hand_over(file, &known, pid, false) == Fate::Sent {
            self.settle(file, &known);
        }
    }

    /// A file that was handed over was open for writing and has been closed: it is another one now.
    fn written(&mut self, file: BorrowedFd<'_>, pid: u32) {
        let Ok(known) = statx(file, c"") else { return };
        if !self.table.forget(FileState::of(&known).file()) {
            return;
        }
        self.group.heed(file);
        if known.is_file() && pid != 0 && self.hand_over(file, &known, pid, true) == Fate::Sent {
            self.settle(file, &known);
        }
    }

    /// The file's content is with the recorder: learns of writes, and asks no more where nobody but root can write.
    fn settle(&mut self, file: BorrowedFd<'_>, known: &Attributes) {
        if let Err(failure) = self.group.watch_writes(file) {
            tracing::debug!("writes to a file cannot be watched: {failure}");
            return;
        }
        if known.uid != 0 || known.mode & WRITABLE != 0 || !keeps_time(file) {
            return;
        }
        if let Err(failure) = self.group.ignore(file) {
            tracing::debug!("a file cannot be left out: {failure}");
        }
    }

    fn hand_over(&mut self, file: BorrowedFd<'_>, known: &Attributes, pid: u32, written: bool) -> Fate {
        let state = FileState::of(known);
        let message = HandOver { pid, path: path(file, known.links), state, written };
        match self.send(&message, file) {
            Ok(()) => {
                if self.table.insert(state) && self.group.heed_all().is_err() {
                    tracing::warn!("ignore marks cannot be removed");
                }
                self.account();
                Fate::Sent
            }
            Err(failure) => {
                if self.missed == 0 {
                    self.since = Timestamp::now();
                    tracing::warn!("executables are not handed over: {failure}");
                }
                // A write that is not told of is found at the next execution.
                self.missed = self.missed.saturating_add(u64::from(!written));
                Fate::Missed
            }
        }
    }

    /// Waits for room at most once, until all is well again.
    fn send(&self, message: &HandOver, file: BorrowedFd<'_>) -> Result<(), ipc::Error> {
        match self.recorder.try_send(message, &[file]) {
            Err(ipc::Error::WouldBlock) if self.missed == 0 && !message.written => {}
            outcome => return outcome,
        }
        let mut room = [PollFd::new(self.recorder.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut room, PollTimeout::from(PATIENCE_MS)) {
            Ok(_) | Err(_) => self.recorder.try_send(message, &[file]),
        }
    }

    /// Says what was missed, once there is room again.
    fn account(&mut self) {
        let missed = FromGate::Missed { count: self.missed, since: self.since };
        if self.missed > 0 && self.control.try_send(&missed, &[]).is_ok() {
            self.missed = 0;
        }
    }

    /// The agent's own executable: a helper of the recorder must be able to start though the gate does not answer.
    fn take_ourselves(&mut self) {
        match File::open("/proc/self/exe") {
            Ok(file) => self.executed(file.as_fd(), std::process::id()),
            Err(failure) => tracing::warn!("the agent's own executable cannot be opened: {failure}"),
        }
    }

    fn mark(&mut self) -> Result<(), Error> {
        let marks = self.marker.look(&self.group).clone();
        self.tell(&FromGate::Marks(marks))
    }

    /// Answers the watcher. `false` when it is gone.
    fn listen(&mut self) -> Result<bool, Error> {
        loop {
            match self.control.try_recv::<ToGate>() {
                Ok(Some((ToGate::Ping { number }, _))) => {
                    self.account();
                    self.tell(&FromGate::Pong { number })?;
                }
                Ok(Some((ToGate::Look { mounts, pids }, _))) => {
                    let look = |pid: &u32| self.marker.look_at(&self.group, mounts, *pid).cloned();
                    if let Some(marks) = pids.iter().take(PIDS_MAX).find_map(look) {
                        self.tell(&FromGate::Marks(marks))?;
                    }
                }
                Ok(None) => return Ok(false),
                Err(ipc::Error::WouldBlock) => return Ok(true),
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Forgets what the recorder has forgotten. `false` when it is gone.
    fn forget(&mut self) -> Result<bool, Error> {
        let mut forgotten = false;
        let goes_on = loop {
            match self.recorder.try_recv::<Forget>() {
                Ok(Some((Forget { states }, _))) => {
                    for state in
                        states.iter().filter(|state| self.table.contains(state)).copied().collect::<Vec<_>>()
                    {
                        forgotten |= self.table.forget(state.file());
                    }
                }
                Ok(None) => break false,
                Err(ipc::Error::WouldBlock) => break true,
                Err(failure) => return Err(failure.into()),
            }
        };
        if forgotten {
            self.group.heed_all().map_err(failed("remove ignore marks"))?;
        }
        Ok(goes_on)
    }

    /// The watcher may be stopped: what it does not take now is said again at the next occasion.
    fn tell(&self, message: &FromGate) -> Result<(), Error> {
        match self.control.try_send(message, &[]) {
            Ok(()) | Err(ipc::Error::WouldBlock) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Whether every change of a file's content shows in its times: on tmpfs a shared mapping's writes do not, and on an
/// overlay the same file has several inodes.
fn keeps_time(file: BorrowedFd<'_>) -> bool {
    let kind = fstatfs(file).map(|found| found.filesystem_type());
    kind.is_ok_and(|kind| kind != OVERLAYFS_SUPER_MAGIC && kind != TMPFS_MAGIC)
}

/// The path of an open file, as the kernel knows it; empty where it is longer than a path can be.
fn path(file: BorrowedFd<'_>, links: u32) -> Bytes {
    let link = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
    let path = std::fs::read_link(link).map(std::path::PathBuf::into_os_string).map(OsString::into_vec);
    let path = path.unwrap_or_default();
    match path.strip_suffix(b" (deleted)") {
        Some(before) if links == 0 => Bytes::from(before),
        _ => Bytes(path),
    }
}
