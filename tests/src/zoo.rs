//! Files that are hard to read, or made to mislead who reads them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknod};
use nix::unistd::{mkfifo, pipe2};

use crate::hostile::Hostile;

/// Where most of it is: a hidden directory in a temporary place, which a capture takes whole.
pub const ZOO: &str = "/tmp/.zoo";
/// A directory of very many entries.
pub const MANY: &str = "/var/tmp/many";
/// How many.
pub const ENTRIES: usize = 1_000_000;
/// Files of which somebody holds a lease.
pub const LEASES: usize = 100;
/// A mount point whose server would have to be asked.
pub const TRAP: &str = "/srv/trap";
/// Where a file system is mounted that does not answer.
pub const DEAD: &str = "/tmp/.zoo/dead";
/// Bytes of the sparse file; its data begin in the middle.
pub const SPARSE: u64 = 2 << 40;
/// What its data are.
pub const DATA: &[u8] = b"data in the middle of nothing";
/// Levels of directories, and bytes of each one's name.
const DEPTH: usize = 90;
const NAME: usize = 100;
const MIB: u64 = 1 << 20;
/// Of those that are never at rest: others need the processor, too.
const PAUSE: Duration = Duration::from_millis(2);

/// All of it; it is gone, and nobody waits any more, when this is dropped.
pub struct Zoo {
    _dead: Hostile,
    _leases: Vec<File>,
    trap: Option<Trap>,
    restless: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// The path of a file deeper than a path can say.
    pub deep: String,
}

impl Zoo {
    /// Makes it; what it has beside the folders, in words.
    pub fn make() -> Result<Self> {
        fs::create_dir_all(DEAD)?;
        let at = |name: &str| Path::new(ZOO).join(name);
        mkfifo(&at("fifo"), Mode::S_IRWXU)?;
        drop(UnixListener::bind(at("socket"))?);
        let devices = [("null", SFlag::S_IFCHR, 1, 3), ("disk", SFlag::S_IFBLK, 7, 0)];
        for (name, kind, major, minor) in devices {
            mknod(&at(name), kind, Mode::S_IRWXU, makedev(major, minor)).context("make a device node")?;
        }
        let sparse = File::create(at("sparse"))?;
        allow(2 * SPARSE)?;
        sparse.set_len(SPARSE).context("make a large file")?;
        sparse.write_all_at(DATA, SPARSE / 2)?;
        let restless = Arc::new(AtomicBool::new(true));
        let mut dead = Hostile::start(&["fuse", DEAD])?;
        dead.tell("be silent")?;
        Ok(Self {
            _dead: dead,
            _leases: leases(&at("leased"))?,
            trap: Trap::set(Path::new(TRAP))?,
            threads: vec![grows(at("growing"), &restless), shrinks(at("shrinking"), &restless)],
            restless,
            deep: deep(&at("deep"))?,
        })
    }

    /// Whether somebody went into the trap; `None` where this kernel has none.
    pub fn trapped(&mut self) -> Result<Option<bool>> {
        self.trap.as_mut().map(Trap::was_asked).transpose()
    }
}

impl Drop for Zoo {
    fn drop(&mut self) {
        self.restless.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Makes the directory of very many entries: names of one file, which take little memory.
pub fn many() -> Result<()> {
    fs::create_dir_all(MANY)?;
    let first = format!("{MANY}/0");
    File::create(&first)?;
    let folder = open(MANY, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
    for number in 1..ENTRIES {
        let flags = nix::fcntl::AtFlags::empty();
        nix::unistd::linkat(&folder, "0", &folder, number.to_string().as_str(), flags)?;
    }
    Ok(())
}

/// Lets this process make files of that size: the world's limit is a soft one.
fn allow(size: u64) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
    setrlimit(Resource::RLIMIT_FSIZE, size.min(hard), hard).context("allow large files")
}

fn leases(folder: &Path) -> Result<Vec<File>> {
    fs::create_dir(folder)?;
    // SAFETY: to ignore a signal runs no code of ours.
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }?;
    let lease = |number: usize| {
        let file = File::create(folder.join(number.to_string()))?;
        (&file).write_all(b"leased")?;
        // SAFETY: the descriptor is open, and the call takes a number.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        Errno::result(result).context("take a lease")?;
        Ok(file)
    };
    (0..LEASES).map(lease).collect()
}

/// Directories one in the other, deeper than the kernel takes a path, and a file at the end.
fn deep(folder: &Path) -> Result<String> {
    fs::create_dir(folder)?;
    let mut path = folder.to_str().context("an odd path")?.to_owned();
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut at: OwnedFd = open(folder, flags, Mode::empty())?;
    let name = "d".repeat(NAME);
    for _ in 0..DEPTH {
        mkdirat(&at, name.as_str(), Mode::S_IRWXU)?;
        at = openat(&at, name.as_str(), flags, Mode::empty())?;
        path = format!("{path}/{name}");
    }
    let file = openat(&at, "end", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU)?;
    File::from(file).write_all(b"the end")?;
    ensure!(path.len() > 2 * 4096, "it is too short");
    Ok(format!("{path}/end"))
}

/// A file to whose end data are added faster than anybody reads them; what lies before is taken away again.
fn grows(path: PathBuf, while_true: &Arc<AtomicBool>) -> JoinHandle<Result<()>> {
    let going = Arc::clone(while_true);
    thread::spawn(move || {
        let file = File::create(&path)?;
        let data = vec![b'g'; usize::try_from(MIB)?];
        let mut at = 0;
        while going.load(Ordering::Relaxed) {
            file.write_all_at(&data, at)?;
            at += MIB;
            if let Some(old) = at.checked_sub(32 * MIB) {
                let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                fallocate(&file, hole, i64::try_from(old)?, i64::try_from(MIB)?)?;
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    })
}

fn shrinks(path: PathBuf, while_true: &Arc<AtomicBool>) -> JoinHandle<Result<()>> {
    let going = Arc::clone(while_true);
    thread::spawn(move || {
        let file = File::create(&path)?;
        let data = vec![b's'; usize::try_from(8 * MIB)?];
        while going.load(Ordering::Relaxed) {
            file.write_all_at(&data, 0)?;
            file.set_len(10)?;
            thread::sleep(PAUSE);
        }
        Ok(())
    })
}

/// An automount point that asks a process which never answers.
struct Trap {
    asked: File,
    keeper: Child,
}

impl Trap {
    fn set(point: &Path) -> Result<Option<Self>> {
        if !fs::read_to_string("/proc/filesystems")?.lines().any(|line| line.ends_with("\tautofs")) {
            return Ok(None);
        }
        fs::create_dir_all(point)?;
        let (asked, tell) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Whoever is in the group of the automounter itself is let through.
        let keeper = Command::new("sleep").arg("170").process_group(0).stdout(Stdio::null()).spawn()?;
        let options = format!("fd={},pgrp={},minproto=5,maxproto=5,direct", tell.as_raw_fd(), keeper.id());
        mount(Some("trap"), point, Some("autofs"), MsFlags::empty(), Some(&*options))
            .context("mount autofs")?;
        Ok(Some(Self { asked: asked.into(), keeper }))
    }

    fn was_asked(&mut self) -> Result<bool> {
        match self.asked.read(&mut [0; 512]) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("read what the trap asks"),
        }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// Names that lead now to a harmless file of a user's, now over a link to what that user may not read.
pub fn race_track(folder: &Path, canary: &Path) -> Result<()> {
    let canary_folder = canary.parent().context("no folder")?;
    fs::create_dir_all(folder.join("in"))?;
    let name = canary.file_name().context("no name")?;
    for file in [folder.join("file"), folder.join("spare"), folder.join("in").join(name)] {
        fs::write(file, "harmless")?;
    }
    symlink(canary, folder.join("link"))?;
    symlink(canary_folder, folder.join("over"))?;
    Ok(())
}
