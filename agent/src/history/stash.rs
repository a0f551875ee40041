//! The recorder's side of the stash: opens executables at exec and hands the descriptors to the stasher.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::stasher::{Answer, Ask};
use crate::event::{Image, ProcessId, Stashed};
use crate::system::process::statx;
use crate::text::Bytes;
use crate::{ipc, proc};

/// Files that may wait for the stasher. Each holds a descriptor of the recorder.
const PENDING_MAX: usize = 256;
/// Processes that wait for one file; the next one asks again.
const PROCESSES_MAX: usize = 1024;
/// Files whose hash is remembered, so that the same program is not sent twice.
const KNOWN_MAX: usize = 4096;
/// Devices whose kind is remembered.
const KINDS_MAX: usize = 1024;
/// A list of mounts is some hundred lines.
const MOUNTINFO_MAX: u64 = 1 << 20;
/// A stasher that owes answers and has given none for so long hangs over a file.
const PATIENCE: Duration = Duration::from_secs(30);

/// One state of one file: any write changes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FileState {
    device: (u32, u32),
    inode: u64,
    size: u64,
    changed: Option<(i64, u32)>,
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
    kinds: Kinds,
    /// When the stasher last gave a sign, or was first asked after it owed nothing.
    sign: Option<Instant>,
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

    /// Whether the stasher hangs: it owes answers and has given no sign for half a minute.
    pub fn is_stuck(&self, now: Instant) -> bool {
        let silent = self.sign.is_some_and(|sign| now.saturating_duration_since(sign) > PATIENCE);
        silent && self.is_waiting()
    }

    /// The channel, to wait for answers.
    pub fn channel(&self) -> Option<&ipc::Channel> {
        self.channel.as_ref()
    }

    /// Takes the executable of a process that has just been seen. `None`: the answer comes later.
    pub fn take(&mut self, proc: &Path, process: ProcessId, image: &Image) -> Option<Kept> {
        let no = |reason: String| Some(Kept::No(process, image.executable.clone(), reason));
        let (file, state) = match handle(proc, process.pid, image, &mut self.kinds) {
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
                if self.pending.is_empty() {
                    self.sign = Some(Instant::now());
                }
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
            self.sign = Some(Instant::now());
            let (ticket, outcome) = match answer {
                Answer::Kept { ticket, sha256, size, evicted } => {
                    self.known.retain(|_, (sha256, _)| !evicted.contains(sha256));
                    (ticket, Ok((sha256, size)))
                }
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

/// The file below `/proc/PID/exe`, as a handle that was never opened: only the stasher opens it, and may hang over it.
fn handle(proc: &Path, pid: u32, image: &Image, kinds: &mut Kinds) -> Result<(OwnedFd, FileState), String> {
    let folder = proc.join(pid.to_string());
    let link = folder.join("exe");
    let handle = open(&link, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|failure| format!("cannot reach {}: {failure}", link.display()))?;
    // What the kernel knows by itself: a dead server is not asked.
    let known = statx(&handle, c"").map_err(|failure| failure.to_string())?;
    if !known.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let kind = kinds.of(known.device, &folder);
    if kind == Kind::Remote {
        return Err("it lies on a file system whose `open` can wait for ever (network or FUSE)".to_owned());
    }
    // Overlay file systems show one inode number in the kernel and another one outside.
    let is_it = known.inode == image.inode || (kind == Kind::Overlay && same_path(&link, image));
    if image.inode != 0 && !is_it {
        return Err("the process has run another program since".to_owned());
    }
    let [_, _, changed, _] = known.times;
    let state = FileState { device: known.device, inode: known.inode, size: known.size, changed };
    Ok((handle, state))
}

fn same_path(link: &Path, image: &Image) -> bool {
    let Ok(target) = std::fs::read_link(link) else { return false };
    let target = std::os::unix::ffi::OsStrExt::as_bytes(target.as_os_str());
    target.strip_suffix(b" (deleted)").unwrap_or(target) == image.executable.as_slice()
}

/// What kind of file system a file lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Overlay,
    Remote,
}

/// The kinds of the devices that were met.
#[derive(Default)]
struct Kinds(HashMap<(u32, u32), Kind>);

impl Kinds {
    /// By the mounts that the process sees. One that is in no list (a memfd's, or one taken off) counts as local: the
    /// stasher, which opens it, is replaced when it hangs.
    fn of(&mut self, device: (u32, u32), folder: &Path) -> Kind {
        if let Some(kind) = self.0.get(&device) {
            return *kind;
        }
        let mut text = Vec::new();
        let file = File::open(folder.join("mountinfo"));
        if file.and_then(|file| file.take(MOUNTINFO_MAX).read_to_end(&mut text)).is_err() {
            return Kind::Local;
        }
        let mounts = proc::mounts(&text);
        let Some(mount) = mounts.iter().find(|mount| mount.device == device) else { return Kind::Local };
        let kind = match mount.kind.as_slice() {
            b"overlay" => Kind::Overlay,
            _ if mount.is_remote() => Kind::Remote,
            _ => Kind::Local,
        };
        if self.0.len() >= KINDS_MAX {
            self.0.clear();
        }
        self.0.insert(device, kind);
        kind
    }
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
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
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
        there
            .send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5, evicted: Vec::new() }, &[])
            .unwrap();
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
        there
            .send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5, evicted: Vec::new() }, &[])
            .unwrap();
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
