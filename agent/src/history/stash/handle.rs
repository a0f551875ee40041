//! The executable of a living process, by `/proc/PID/exe`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::event::Image;
use crate::history::state::FileState;
use crate::proc;
use crate::system::process::statx;

/// Devices whose kind is remembered.
const KINDS_MAX: usize = 1024;
/// A list of mounts is some hundred lines.
const MOUNTINFO_MAX: u64 = 1 << 20;

/// The file below `/proc/PID/exe`, as a handle that was never opened: only the stasher opens it, and may hang over it.
pub(super) fn handle(
    proc: &Path,
    pid: u32,
    image: &Image,
    kinds: &mut Kinds,
) -> Result<(OwnedFd, FileState), String> {
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
    Ok((handle, FileState::of(&known)))
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
pub(super) struct Kinds(HashMap<(u32, u32), Kind>);

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
