//! The recorder's side of the stash: opens executables at exec and hands the descriptors to the stasher.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;

use super::stasher::{Answer, Ask};
use crate::event::{Image, ProcessId, Stashed};
use crate::ipc;
use crate::text::Bytes;

/// Files that may wait for the stasher. Each holds a descriptor of the recorder.
const PENDING_MAX: usize = 256;
/// Processes that wait for one file; the next one asks again.
const PROCESSES_MAX: usize = 1024;
/// Files whose hash is remembered, so that the same program is not sent twice.
const KNOWN_MAX: usize = 4096;
/// File systems whose `open` can wait for somebody else: FUSE, NFS, CIFS, SMB2, 9P, Ceph, AFS, Coda
/// (`linux/magic.h`, and the file systems' own headers).
const REMOTE: [i64; 8] =
    [0x6573_5546, 0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x0102_1997, 0x00C3_6400, 0x5346_414F, 0x7375_7245];

/// One state of one file: any write changes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// What is asked of the stasher at the moment, and what it answered before.
#[derive(Default)]
pub struct Stash {
    channel: Option<ipc::Channel>,
    next: u64,
    pending: HashMap<u64, Pending>,
    asked: HashMap<FileState, u64>,
    known: HashMap<FileState, (String, u64)>,
    order: VecDeque<FileState>,
}

/// One file that the stasher has, and the processes that run it.
struct Pending {
    state: FileState,
    processes: Vec<(ProcessId, Bytes)>,
}

/// What became of one request.
#[derive(Debug)]
pub enum Kept {
    /// It is in the stash.
    Yes(ProcessId, Stashed),
    /// It is not, for this reason.
    No(ProcessId, Bytes, String),
}

impl Stash {
    /// Speaks to the stasher through `channel` from now on. What the last one had not answered is lost: it is returned.
    pub fn connect(&mut self, channel: Option<ipc::Channel>) -> Vec<Kept> {
        self.channel = channel;
        self.asked.clear();
        let lost = std::mem::take(&mut self.pending).into_values().flat_map(|pending| pending.processes);
        let words = "the stasher ended before it had answered";
        lost.map(|(process, path)| Kept::No(process, path, words.to_owned())).collect()
    }

    /// Whether the stasher still owes answers.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The channel, to wait for answers.
    pub fn channel(&self) -> Option<&ipc::Channel> {
        self.channel.as_ref()
    }

    /// Takes the executable of a process that has just been seen. `None`: the answer comes later.
    pub fn take(&mut self, proc: &Path, process: ProcessId, image: &Image) -> Option<Kept> {
        let no = |reason: String| Some(Kept::No(process, image.executable.clone(), reason));
        let (file, state) = match open_executable(proc, process.pid, image) {
            Ok(opened) => opened,
            Err(reason) => return no(reason),
        };
        if let Some((sha256, size)) = self.known.get(&state) {
            let stashed =
                Stashed { sha256: sha256.clone(), size: *size, executable: image.executable.clone() };
            return Some(Kept::Yes(process, stashed));
        }
        let asked = self.asked.get(&state).and_then(|ticket| self.pending.get_mut(ticket));
        if let Some(pending) = asked.filter(|pending| pending.processes.len() < PROCESSES_MAX) {
            pending.processes.push((process, image.executable.clone()));
            return None;
        }
        let Some(channel) = self.channel.as_ref() else { return no("the stasher does not run".to_owned()) };
        if self.pending.len() >= PENDING_MAX {
            return no(format!("{PENDING_MAX} files wait for the stasher already"));
        }
        let ticket = self.next;
        match channel.try_send(&Ask { ticket }, &[file.as_fd()]) {
            Ok(()) => {
                self.next = self.next.wrapping_add(1);
                let processes = vec![(process, image.executable.clone())];
                self.pending.insert(ticket, Pending { state, processes });
                self.asked.insert(state, ticket);
                None
            }
            Err(ipc::Error::WouldBlock) => no("the stasher is behind".to_owned()),
            Err(failure) => no(failure.to_string()),
        }
    }

    /// Reads the answers that are there. `Err` means that the stasher is gone.
    pub fn answers(&mut self) -> Result<Vec<Kept>, ipc::Error> {
        let mut all = Vec::new();
        while let Some(channel) = self.channel.as_ref() {
            let answer = match channel.try_recv::<Answer>() {
                Ok(Some((answer, _))) => answer,
                Ok(None) => return Err(ipc::Error::Truncated),
                Err(ipc::Error::WouldBlock) => break,
                Err(failure) => return Err(failure),
            };
            let (ticket, outcome) = match answer {
                Answer::Kept { ticket, sha256, size } => (ticket, Ok((sha256, size))),
                Answer::Failed { ticket, reason } => (ticket, Err(reason)),
            };
            let Some(Pending { state, processes }) = self.pending.remove(&ticket) else { continue };
            self.asked.remove(&state);
            if let Ok((sha256, size)) = &outcome {
                self.remember(state, sha256, *size);
            }
            all.extend(processes.into_iter().map(|(process, executable)| match &outcome {
                Ok((sha256, size)) => {
                    Kept::Yes(process, Stashed { sha256: sha256.clone(), size: *size, executable })
                }
                Err(reason) => Kept::No(process, executable, reason.clone()),
            }));
        }
        Ok(all)
    }

    fn remember(&mut self, state: FileState, sha256: &str, size: u64) {
        if self.known.insert(state, (sha256.to_owned(), size)).is_none() {
            self.order.push_back(state);
        }
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Opens `/proc/PID/exe` without waiting for anybody, and makes sure that it is the file the event spoke of.
fn open_executable(proc: &Path, pid: u32, image: &Image) -> Result<(File, FileState), String> {
    let link = proc.join(pid.to_string()).join("exe");
    // O_PATH opens nothing yet: the file system's kind can be seen before its `open` runs.
    let handle = open_fd(&link, OFlag::O_PATH)
        .map_err(|failure| format!("cannot reach {}: {failure}", link.display()))?;
    let kind = fstatfs(&handle).map_err(|failure| format!("cannot tell its file system: {failure}"))?;
    if REMOTE.contains(&kind.filesystem_type().0) {
        return Err("it lies on a file system whose `open` can wait for ever (network or FUSE)".to_owned());
    }
    let own = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&handle).to_string());
    let file = File::from(
        open_fd(&own, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map_err(|failure| failure.to_string())?,
    );
    let metadata = file.metadata().map_err(|failure| failure.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if image.inode != 0 && metadata.ino() != image.inode && !same_path(&link, image) {
        return Err("the process has run another program since".to_owned());
    }
    let state = FileState {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    Ok((file, state))
}

/// Overlay file systems show one inode number in the kernel and another one outside.
fn same_path(link: &Path, image: &Image) -> bool {
    let Ok(target) = std::fs::read_link(link) else { return false };
    let target = std::os::unix::ffi::OsStrExt::as_bytes(target.as_os_str());
    target.strip_suffix(b" (deleted)").unwrap_or(target) == image.executable.as_slice()
}

fn open_fd(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    open(path, flags | OFlag::O_CLOEXEC, Mode::empty()).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BootId;

    fn me() -> ProcessId {
        ProcessId { boot: BootId([0; 16]), pid: std::process::id(), start: 1 }
    }

    fn own_image() -> Image {
        let path = std::fs::read_link("/proc/self/exe").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        Image { executable: Bytes::from(path.to_str().unwrap()), inode, ..Image::default() }
    }

    #[test]
    fn an_executable_is_asked_for_once_and_then_known() {
        let (here, there) = ipc::Channel::pair().unwrap();
        let mut stash = Stash::default();
        assert!(stash.connect(Some(here)).is_empty());
        assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_none());
        let (Ask { ticket }, files) = there.recv::<Ask>().unwrap().unwrap();
        assert_eq!(files.len(), 1);
        there.send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5 }, &[]).unwrap();
        let answers = stash.answers().unwrap();
        assert!(
            matches!(&answers[..], [Kept::Yes(process, kept)] if *process == me() && kept.sha256 == "aa")
        );
        assert!(matches!(stash.take(Path::new("/proc"), me(), &own_image()), Some(Kept::Yes(..))));
    }

    #[test]
    fn a_file_that_is_on_its_way_is_not_sent_again() {
        let (here, there) = ipc::Channel::pair().unwrap();
        let mut stash = Stash::default();
        stash.connect(Some(here));
        let other = ProcessId { start: 2, ..me() };
        assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_none());
        assert!(stash.take(Path::new("/proc"), other, &own_image()).is_none());
        assert!(stash.is_waiting());
        let (Ask { ticket }, _) = there.recv::<Ask>().unwrap().unwrap();
        assert!(matches!(there.try_recv::<Ask>(), Err(ipc::Error::WouldBlock)));
        there.send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5 }, &[]).unwrap();
        let answers = stash.answers().unwrap();
        assert!(
            matches!(&answers[..], [Kept::Yes(one, _), Kept::Yes(two, _)] if *one == me() && *two == other)
        );
        assert!(!stash.is_waiting());
    }

    #[test]
    fn another_program_by_then_is_not_taken_for_the_one_that_was_seen() {
        let mut stash = Stash::default();
        let image = Image { executable: Bytes::from("/bin/other"), inode: u64::MAX, ..Image::default() };
        let Some(Kept::No(_, _, reason)) = stash.take(Path::new("/proc"), me(), &image) else { panic!() };
        assert!(reason.contains("another program"), "{reason}");
    }

    #[test]
    fn a_process_that_is_gone_and_a_stasher_that_is_gone_are_said() {
        let mut stash = Stash::default();
        let gone = ProcessId { pid: u32::MAX, ..me() };
        let Some(Kept::No(_, _, reason)) = stash.take(Path::new("/proc"), gone, &own_image()) else {
            panic!()
        };
        assert!(reason.contains("cannot reach"), "{reason}");
        let (here, _there) = ipc::Channel::pair().unwrap();
        stash.connect(Some(here));
        assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_none());
        assert!(matches!(&stash.connect(None)[..], [Kept::No(_, _, reason)] if reason.contains("ended")));
    }
}
