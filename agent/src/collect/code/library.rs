//! A mapped file: found by the mapping, not by a name that may lead elsewhere by now; compared, and taken or hashed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlink};
use sha2::{Digest, Sha256};

use super::differences::Comparison;
use super::pages::{Run, Source};
use crate::bundle::Outcome;
use crate::collect::attempts::Miss;
use crate::collect::file::reopen;
use crate::collect::mounted::{REMOTE, View};
use crate::collect::open::top;
use crate::collect::procdir::ProcDir;
use crate::collect::system::{Attributes, statx};
use crate::proc::Mapping;
use crate::text;

/// Read at a time.
const CHUNK: u64 = 64 << 10;

/// How a mapped file is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Through /proc/PID/map_files.
    Mapping,
    /// By its name, in the process's root or in ours; then it must have the mapping's device and inode.
    Name,
}

/// What a mapping is of, as a path descriptor: nothing is opened yet.
pub(super) fn find(
    dir: &ProcDir,
    root: &Path,
    mapping: &Mapping,
    way: Way,
    view: &View<'_>,
) -> Result<(OwnedFd, Attributes), Miss> {
    let path = match way {
        Way::Mapping => {
            let link = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
            let path = dir.path(&link).map_err(|error| Miss::at("look at its mapping", &error))?;
            if !is_called(&path, mapping.path.as_slice()) {
                return Err(Miss::new(Outcome::IdentityChanged, "another file is mapped there by now"));
            }
            path
        }
        Way::Name => named(dir, root, mapping, view)?,
    };
    let attributes = view.regular(&path)?;
    Ok((path, attributes))
}

/// Whether the kernel lets us follow mappings to their files (CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, and that in the
/// initial user namespace).
pub(super) fn follows(dir: &ProcDir, mapping: &Mapping) -> Result<(), io::Error> {
    match dir.path(&format!("map_files/{:x}-{:x}", mapping.start, mapping.end)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => Err(error),
        _ => Ok(()),
    }
}

/// Whether the kernel calls the file as `maps` did; it may have been deleted meanwhile.
fn is_called(path: &OwnedFd, name: &[u8]) -> bool {
    let Ok(link) = readlink(format!("/proc/self/fd/{}", path.as_raw_fd()).as_str()) else { return false };
    let plain = |name: &[u8]| name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec();
    let escaped: Vec<Vec<u8>> = link.as_bytes().split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    plain(&escaped.join(&b"\\012"[..])) == plain(name)
}

fn named(dir: &ProcDir, root: &Path, mapping: &Mapping, view: &View<'_>) -> Result<OwnedFd, Miss> {
    let path = mapping.path.as_slice();
    if path.ends_with(b" (deleted)") {
        return Err(Miss::refused(
            "it has no name any more, and the kernel does not let us follow its mapping",
        ));
    }
    if view.is_barred(path) {
        return Err(Miss::refused(REMOTE));
    }
    let roots = [dir.path("root").ok(), top(root).ok()];
    let mut miss = Miss::new(Outcome::Gone, "there is no root to look for it");
    for root in roots.into_iter().flatten() {
        match look_up(&root, path) {
            Ok(found) if is_that(&found, mapping) => return Ok(found),
            Ok(_) => miss = Miss::new(Outcome::IdentityChanged, "another file has its name by now"),
            Err(error) => miss = Miss::at("look up its name", &error.into()),
        }
    }
    Err(miss)
}

/// The kernel's names of mapped files hold no links: one that does is somebody's doing.
fn look_up(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
    openat2(root, path, how)
}

fn is_that(found: &OwnedFd, mapping: &Mapping) -> bool {
    statx(found, c"").is_ok_and(|found| (found.device, found.inode) == (mapping.device, mapping.inode))
}

/// Compares pages that the process has written to with `original`, which may end earlier: then zeros follow.
pub(super) fn compare(
    mapping: &Mapping,
    runs: &[Run],
    page: u64,
    mem: &File,
    original: &dyn Fn(&mut [u8], u64) -> io::Result<()>,
    until: Instant,
    into: &mut Comparison,
) {
    for run in runs.iter().filter(|run| run.source == Source::Changed) {
        let mut at = run.start;
        while at < run.end {
            let end = (at + CHUNK).min(run.end);
            if Instant::now() >= until {
                into.unread = into.unread.saturating_add(run.end - at);
                break;
            }
            if !stretch(mapping, at, end, mem, original, into) {
                // One page that cannot be read does not hide its neighbours.
                let mut one = at;
                while one < end {
                    let next = (one + page).min(end);
                    if !stretch(mapping, one, next, mem, original, into) {
                        into.unread = into.unread.saturating_add(next - one);
                    }
                    one = next;
                }
            }
            at = end;
        }
    }
    into.close();
}

fn stretch(
    mapping: &Mapping,
    start: u64,
    end: u64,
    mem: &File,
    original: &dyn Fn(&mut [u8], u64) -> io::Result<()>,
    into: &mut Comparison,
) -> bool {
    let Ok(length) = usize::try_from(end - start) else { return false };
    let offset = mapping.offset.saturating_add(start - mapping.start);
    let (mut memory, mut file) = (vec![0; length], vec![0; length]);
    let read = mem.read_exact_at(&mut memory, start).and_then(|()| original(&mut file, offset));
    if read.is_ok() {
        into.add(start, offset, &memory, &file);
    }
    read.is_ok()
}

/// Fills the buffer from the file; what lies behind its end stays zeros.
pub(super) fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut at = 0;
    while at < buffer.len() {
        let here = offset.saturating_add(u64::try_from(at).map_err(io::Error::other)?);
        match file.read_at(buffer.get_mut(at..).unwrap_or_default(), here) {
            Ok(0) => break,
            Ok(count) => at += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// SHA-256 of the whole file, in hexadecimal.
pub(super) fn sha256(path: &OwnedFd, until: Instant) -> Result<String, Miss> {
    let mut file = reopen(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        if Instant::now() >= until {
            return Err(Miss::new(Outcome::TimedOut, "the capture's deadline passed while it was hashed"));
        }
        let count = file.read(&mut buffer).map_err(|error| Miss::at("read", &error))?;
        if count == 0 {
            return Ok(text::hex(&hash.finalize()));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}
