//! Files that the stasher itself has to find: by a process's root and maps, or by a package's path. Here names are looked
//! up that others chose; a file system that does not answer holds this process, which is then replaced.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::{Error, error};
use crate::event::ProcessId;
use crate::history::policy;
use crate::history::state::FileState;
use crate::proc::{self, Mount, Stat};
use crate::system::process::{Attributes, statx};

/// Texts of /proc are read up to this size.
const TEXT_MAX: u64 = 4 << 20;
/// Shared objects of one process that are kept.
const LIBRARIES_MAX: usize = 64;

/// Where the host is.
#[derive(Clone, Debug)]
pub struct Places {
    /// Its procfs.
    pub proc: PathBuf,
    /// Its root.
    pub root: PathBuf,
}

/// A package's file, if it is still in that state.
pub(super) fn owned(places: &Places, path: &[u8], state: &FileState) -> Result<OwnedFd, Error> {
    let path = places.root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
    let handle = handle(&path)?;
    let known = statx(&handle, c"").map_err(error("look at", &path))?;
    if FileState::of(&known) == *state { Ok(handle) } else { Err(Error::Changed) }
}

/// The script of a process: by its root while it lives, by our own afterwards, if they are the same (`ours`).
pub(super) fn script(places: &Places, process: ProcessId, path: &[u8], ours: bool) -> Result<OwnedFd, Error> {
    let mut folder = places.proc.join(process.pid.to_string());
    let mut root = folder.join("root");
    if ours && !lives(&folder, process) {
        (folder, root) = (places.proc.join("self"), places.root.clone());
    }
    let mounts = mounts(&folder)?;
    let shown = Path::new(OsStr::from_bytes(path));
    if mounts
        .iter()
        .any(|mount| mount.is_remote() && shown.starts_with(OsStr::from_bytes(mount.point.as_slice())))
    {
        return Err(Error::Remote);
    }
    let root = handle(&root)?;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let found = openat2(&root, shown, how).map_err(|errno| error("open", shown)(errno.into()))?;
    regular(found.as_fd(), &mounts, shown)?;
    if ours || lives(&folder, process) { Ok(found) } else { Err(Error::Gone) }
}

/// The shared objects, mapped by a living process, that others than root can have put there; each with its path.
pub(super) fn libraries(places: &Places, process: ProcessId) -> Result<Vec<(Vec<u8>, OwnedFd)>, Error> {
    let folder = places.proc.join(process.pid.to_string());
    let mappings = proc::mappings(&text(&folder.join("maps"))?);
    let executable = std::fs::read_link(folder.join("exe")).unwrap_or_default();
    let mut mapped: Vec<_> = mappings
        .iter()
        .filter(|mapping| mapping.exec && mapping.inode != 0)
        .filter(|mapping| mapping.path.as_slice() != executable.as_os_str().as_bytes())
        .collect();
    mapped.sort_by_key(|mapping| (mapping.device, mapping.inode));
    mapped.dedup_by_key(|mapping| (mapping.device, mapping.inode));
    let mounts = mounts(&folder)?;
    let mut found = Vec::new();
    for mapping in mapped {
        let link = folder.join("map_files").join(format!("{:x}-{:x}", mapping.start, mapping.end));
        // What was unmapped meanwhile is not there.
        let Ok(handle) = handle(&link) else { continue };
        let path = mapping.path.as_slice();
        let Ok(known) = regular(handle.as_fd(), &mounts, &link) else { continue };
        let path = path.strip_suffix(b" (deleted)").filter(|_| known.links == 0).unwrap_or(path);
        if policy::is_odd_library(path, &known) && found.len() < LIBRARIES_MAX {
            found.push((path.to_vec(), handle));
        }
    }
    if lives(&folder, process) { Ok(found) } else { Err(Error::Gone) }
}

fn handle(path: &Path) -> Result<OwnedFd, Error> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| error("open", path)(errno.into()))
}

/// Fails unless it is a regular file that no other machine and no user's program serves.
fn regular(file: BorrowedFd<'_>, mounts: &[Mount], path: &Path) -> Result<Attributes, Error> {
    let known = statx(file, c"").map_err(error("look at", path))?;
    let on = |mount: &&Mount| match known.mount {
        Some(id) => u64::from(mount.id) == id,
        None => mount.device == known.device,
    };
    if mounts.iter().find(on).is_some_and(Mount::is_remote) {
        return Err(Error::Remote);
    }
    if known.is_file() { Ok(known) } else { Err(Error::NoFile) }
}

fn mounts(folder: &Path) -> Result<Vec<Mount>, Error> {
    Ok(proc::mounts(&text(&folder.join("mountinfo"))?))
}

/// Whether it is still that process.
fn lives(folder: &Path, process: ProcessId) -> bool {
    let stat = text(&folder.join("stat")).ok().and_then(|text| Stat::parse(&text).ok());
    stat.is_some_and(|stat| stat.start == process.start)
}

fn text(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(TEXT_MAX).read_to_end(&mut text));
    read.map_err(error("read", path)).map(|_| text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::event::BootId;

    fn places(root: &Path) -> Places {
        Places { proc: PathBuf::from("/proc"), root: root.to_owned() }
    }

    fn me() -> ProcessId {
        let stat = std::fs::read("/proc/self/stat").unwrap();
        ProcessId {
            boot: BootId::default(),
            pid: std::process::id(),
            start: Stat::parse(&stat).unwrap().start,
        }
    }

    fn inode(file: impl AsFd) -> u64 {
        statx(file, c"").unwrap().inode
    }

    #[test]
    fn a_script_is_found_below_the_process_own_root() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sh");
        std::fs::write(&path, b"echo").unwrap();
        let bytes = path.as_os_str().as_bytes();
        let wanted = inode(File::open(&path).unwrap());
        assert_eq!(inode(script(&places(Path::new("/")), me(), bytes, true).unwrap()), wanted);
        let gone = ProcessId { pid: 4_000_001, ..me() };
        assert_eq!(inode(script(&places(Path::new("/")), gone, bytes, true).unwrap()), wanted);
        assert!(script(&places(Path::new("/")), gone, bytes, false).is_err());
        let other = ProcessId { start: 1, ..me() };
        assert!(matches!(script(&places(Path::new("/")), other, bytes, false), Err(Error::Gone)));
    }

    #[test]
    fn what_is_no_file_is_refused_and_nothing_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for path in [fifo.as_path(), folder.path(), Path::new("/dev/null")] {
            let found = script(&places(Path::new("/")), me(), path.as_os_str().as_bytes(), true);
            assert!(matches!(found, Err(Error::NoFile)), "{}: {found:?}", path.display());
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/proc/self/exe", &link).unwrap();
        assert!(script(&places(Path::new("/")), me(), link.as_os_str().as_bytes(), true).is_err());
    }

    #[test]
    fn a_packages_file_must_be_in_the_state_that_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), b"x").unwrap();
        let state = FileState::of(&statx(File::open(folder.path().join("tool")).unwrap(), c"").unwrap());
        assert_eq!(inode(owned(&places(folder.path()), b"/tool", &state).unwrap()), state.inode);
        let other = FileState { size: 2, ..state };
        assert!(matches!(owned(&places(folder.path()), b"/tool", &other), Err(Error::Changed)));
        assert!(owned(&places(folder.path()), b"/none", &state).is_err());
    }

    #[test]
    fn shared_objects_from_odd_places_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("odd.so");
        std::fs::write(&library, [0; 4096]).unwrap();
        std::fs::set_permissions(&library, std::fs::Permissions::from_mode(0o777)).unwrap();
        let mapping = crate::system::process::testing::map_executable(&File::open(&library).unwrap());
        let found = libraries(&places(Path::new("/")), me()).unwrap();
        drop(mapping);
        let wanted = library.as_os_str().as_bytes();
        assert!(found.iter().any(|(path, _)| path == wanted), "{found:?}");
    }
}
