//! What already runs: a look at all of /proc, after the probe was attached, so that nothing falls between.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;

use afterimage_ebpf::ARGS_BYTES;
use jiff::Timestamp;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::event::{Action, BootId, Event, Image, Namespaces, ProcessId, Source};
use crate::proc::{Stat, Status, namespace_inode, nul_separated, unified_path};
use crate::system::stat::known_attributes;
use crate::text::Bytes;

/// The largest of the texts we read here.
const LARGEST: u64 = 64 << 10;

/// An event for every process in /proc, parents as far as they are there too, and what could not be read, in words. A
/// process that ends while we look is left out.
pub fn scan(proc_root: &Path, boot: BootId) -> (Vec<Event>, Vec<String>) {
    let mut refused = Vec::new();
    let found = processes(proc_root, &mut refused);
    let starts: HashMap<u32, u64> = found.iter().map(|(stat, _)| (stat.pid, stat.start)).collect();
    let events = found
        .into_iter()
        .map(|(stat, mut image)| {
            // A parent is older than its child: a younger one has got the pid since.
            let start = starts.get(&stat.ppid).filter(|&&start| start <= stat.start);
            image.parent = start.map(|&start| ProcessId { boot, pid: stat.ppid, start });
            let process = ProcessId { boot, pid: stat.pid, start: stat.start };
            let action = Action::Running(Box::new(image));
            Event { time: Timestamp::now(), source: Source::Scan, process, action }
        })
        .collect();
    (events, refused)
}

/// What lives, the oldest first; without parents.
fn processes(proc_root: &Path, refused: &mut Vec<String>) -> Vec<(Stat, Image)> {
    let entries = match fs::read_dir(proc_root) {
        Ok(entries) => entries,
        Err(error) => {
            refused.push(format!("{}: {error}", proc_root.display()));
            return Vec::new();
        }
    };
    let folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_process(path)).collect();
    // Two threads, as the kernel's work is most of it; the other processors are the host's.
    let (some, others) = folders.split_at(folders.len() / 2);
    let (first, second) = thread::scope(|scope| {
        let other = scope.spawn(|| read_all(others));
        (read_all(some), other.join().unwrap_or_default())
    });
    let (mut found, unread) = first;
    found.extend(second.0);
    refused.extend(unread.into_iter().chain(second.1));
    found.sort_unstable_by_key(|(stat, _)| (stat.start, stat.pid));
    found
}

/// What lives of these, and what could not be read, in words.
fn read_all(folders: &[PathBuf]) -> (Vec<(Stat, Image)>, Vec<String>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for folder in folders {
        let mut refuse = |error: io::Error| refused.push(format!("{}: {error}", folder.display()));
        match process(folder, &mut refuse) {
            Ok(one) => found.push(one),
            Err(error) if is_gone(&error) => {}
            Err(error) => refuse(error),
        }
    }
    (found, refused)
}

/// One process, with what cannot be read of it said by `refuse`.
fn process(folder: &Path, refuse: &mut dyn FnMut(io::Error)) -> io::Result<(Stat, Image)> {
    let pinned = Pinned::open(folder)?;
    let stat = Stat::parse(&read(&pinned.path.join("stat"))?).map_err(io::Error::other)?;
    let image = match image(&pinned.path, &stat) {
        Err(error) if !is_gone(&error) => {
            let name = stat.comm.clone();
            refuse(error);
            Image { name, ..Image::default() }
        }
        outcome => outcome?,
    };
    Ok((stat, image))
}

/// A process's directory, opened once: what is read below it is of one process, whoever gets its pid meanwhile.
struct Pinned {
    path: PathBuf,
    _directory: OwnedFd,
}

impl Pinned {
    fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(folder, flags, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
        Ok(Self { path, _directory: directory })
    }
}

fn image(folder: &Path, stat: &Stat) -> io::Result<Image> {
    let status = Status::parse(&read(&folder.join("status"))?).map_err(io::Error::other)?;
    let args = nul_separated(&read(&folder.join("cmdline"))?, ARGS_BYTES);
    let [real_uid, uid, ..] = status.uids;
    let [_, gid, ..] = status.gids;
    // A kernel thread has no executable, and a process that is just ending none any more.
    let file = known_attributes(&folder.join("exe")).ok();
    let link = link(&folder.join("exe")).unwrap_or_default();
    let gone = file.is_some_and(|file| file.links == 0);
    let executable =
        if gone { link.0.strip_suffix(b" (deleted)").map_or(link.clone(), Bytes::from) } else { link };
    let login_uid = read(&folder.join("loginuid")).ok().and_then(|text| number(&text));
    Ok(Image {
        parent: None,
        name: stat.comm.clone(),
        executable,
        filename: Bytes::default(),
        args: args.strings,
        args_cut: args.cut,
        working_directory: self::link(&folder.join("cwd")).unwrap_or_default(),
        inode: file.map_or(0, |file| file.inode),
        device: file.map_or(0, |file| file.device),
        links: file.map(|file| file.links),
        changed: file.and_then(|file| file.changed),
        uid,
        real_uid: Some(real_uid).filter(|&real| real != uid),
        gid,
        login_uid: login_uid.filter(|&uid| uid != u32::MAX),
        cgroup: read(&folder.join("cgroup")).ok().and_then(|text| unified_path(&text)).unwrap_or_default(),
        cgroup_id: None,
        sha256: None,
        size: None,
        hold: None,
        namespaces: namespaces(folder),
    })
}

/// The namespaces of the process in `folder`; 0 where the link cannot be read.
pub(super) fn namespaces(folder: &Path) -> Namespaces {
    let inode = |name: &str| {
        link(&folder.join("ns").join(name)).and_then(|link| namespace_inode(link.as_slice())).unwrap_or(0)
    };
    Namespaces { pid: inode("pid"), mnt: inode("mnt"), net: inode("net"), user: inode("user") }
}

/// At most [`LARGEST`] bytes of a text.
pub(super) fn read(path: &PathBuf) -> io::Result<Vec<u8>> {
    // Room for most of them: without it the first read would be of 32 bytes.
    let mut text = Vec::with_capacity(4096);
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    Ok(text)
}

/// Where a link of /proc leads.
pub(super) fn link(path: &Path) -> Option<Bytes> {
    fs::read_link(path).ok().map(|target| Bytes::from(target.as_os_str().as_bytes()))
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn is_process(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A /proc that holds what we give it.
    fn proc_with(pid: u32, name: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(pid.to_string());
        fs::create_dir(&folder).unwrap();
        let zeros = "0 ".repeat(12);
        fs::write(folder.join("stat"), format!("{pid} ({name}) S 0 1 1 0 0 0 {zeros}777 0 0 0\n")).unwrap();
        fs::write(folder.join("status"), "Tgid:\t1\nUid:\t1 2 3 4\nGid:\t5 6 7 8\n").unwrap();
        fs::write(folder.join("cmdline"), b"a\0b\n\xff\0").unwrap();
        fs::write(folder.join("cgroup"), "0::/x\n").unwrap();
        fs::write(folder.join("loginuid"), "4294967295").unwrap();
        root
    }

    #[test]
    fn a_process_is_told_byte_for_byte() {
        let root = proc_with(42, "x) S 9\n");
        let (events, refused) = scan(root.path(), BootId::default());
        assert_eq!(refused, Vec::<String>::new());
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((event.process.pid, event.process.start), (42, 777));
        let Action::Running(image) = &event.action else { panic!() };
        assert_eq!(image.name, Bytes::from("x) S 9\n"));
        assert_eq!(image.args, [Bytes::from("a"), Bytes::from(b"b\n\xff")]);
        assert_eq!((image.uid, image.gid, image.login_uid, image.links), (2, 6, None, None));
        assert_eq!(image.cgroup, Bytes::from("/x"));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_what_is_gone_is_not() {
        let root = proc_with(42, "x");
        fs::write(root.path().join("42/status"), "nothing").unwrap();
        fs::create_dir(root.path().join("43")).unwrap();
        let (events, refused) = scan(root.path(), BootId::default());
        assert_eq!((events.len(), refused.len()), (1, 1));
        assert!(refused[0].contains("42") && refused[0].contains("Tgid"), "{refused:?}");
        assert_eq!(scan(Path::new("/nowhere"), BootId::default()).1.len(), 1);
    }
}
