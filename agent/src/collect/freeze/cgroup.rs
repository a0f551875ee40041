//! The cgroup of a process, as something that can be frozen: of the unified hierarchy (`cgroup.freeze`), or of the
//! freezer's own (`freezer.state`).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use crate::bundle::Method;
use crate::collect::procdir::ProcDir;
use crate::guard::Hold;
use crate::proc::{Mount, memberships};
use crate::text::Bytes;

/// A process is in a dozen hierarchies.
const TEXT_MAX: u64 = 64 << 10;

/// Processes, and cgroups below one, that are looked at; one with more is not frozen.
const MEMBERS_MAX: usize = 4096;
const BELOW_MAX: usize = 1024;

/// One cgroup.
#[derive(Clone, Debug)]
pub(in crate::collect) struct Cgroup {
    /// As `/proc/PID/cgroup` has it.
    pub(super) path: Bytes,
    pub(super) hold: Hold,
    folder: Arc<OwnedFd>,
}

impl Cgroup {
    /// The cgroup of the process that can be frozen: never the root of what we see.
    pub(super) fn of(dir: &ProcDir, mounts: &[Mount]) -> Option<Self> {
        let (text, _) = dir.text("cgroup", TEXT_MAX).ok()?;
        let all = memberships(&text);
        let unified = all.iter().find(|one| one.hierarchy == 0).map(|one| (Hold::Cgroup2, one));
        let is_freezer = |controllers: &Bytes| {
            controllers.as_slice().split(|&byte| byte == b',').any(|controller| controller == b"freezer")
        };
        let own = all.iter().find(|one| is_freezer(&one.controllers)).map(|one| (Hold::Cgroup1, one));
        unified.into_iter().chain(own).find_map(|(hold, one)| Self::find(hold, &one.path, mounts))
    }

    #[expect(clippy::disallowed_methods, reason = "cgroupfs is the kernel's, as its mount says")]
    fn find(hold: Hold, path: &Bytes, mounts: &[Mount]) -> Option<Self> {
        let kind: &[u8] = if hold == Hold::Cgroup2 { b"cgroup2" } else { b"cgroup" };
        mounts.iter().filter(|mount| mount.kind.as_slice() == kind).find_map(|mount| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let folder = open(&below(mount, path)?, flags, Mode::empty()).ok()?;
            let cgroup = Self { path: path.clone(), hold, folder: Arc::new(folder) };
            // A v1 hierarchy of other controllers has no such file.
            cgroup.read(cgroup.control_name()).ok()?;
            Some(cgroup)
        })
    }

    /// How what is in it will be said to be held.
    pub(super) fn method(&self) -> Method {
        if self.hold == Hold::Cgroup2 { Method::CgroupV2 } else { Method::CgroupV1 }
    }

    /// The file that freezes it.
    pub(super) fn control(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        Ok(openat(&*self.folder, self.control_name(), flags, Mode::empty())?)
    }

    /// Whether everything in it stands.
    pub(super) fn stands(&self) -> io::Result<bool> {
        let text = match self.hold {
            Hold::Cgroup2 => self.read("cgroup.events")?,
            _ => self.read("freezer.state")?,
        };
        Ok(text.lines().any(|line| line == "frozen 1" || line == "FROZEN"))
    }

    /// The processes in it and below it, as we see them; 0 is one that we do not see.
    pub(super) fn members(&self) -> io::Result<BTreeSet<u32>> {
        let mut members = BTreeSet::new();
        let mut folders = vec![self.folder.as_fd().try_clone_to_owned()?];
        let mut seen = 0_usize;
        while let Some(folder) = folders.pop() {
            seen += 1;
            let text = read(&folder, "cgroup.procs")?;
            members.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            if seen > BELOW_MAX || members.len() > MEMBERS_MAX {
                return Err(io::Error::other("more is in it than is frozen at once"));
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            for entry in Dir::openat(&folder, ".", flags, Mode::empty())?.iter() {
                let entry = entry?;
                let name = entry.file_name();
                if entry.file_type() == Some(Type::Directory) && name != c"." && name != c".." {
                    folders.push(openat(&folder, name, flags, Mode::empty())?);
                }
            }
        }
        Ok(members)
    }

    fn control_name(&self) -> &'static str {
        if self.hold == Hold::Cgroup2 { "cgroup.freeze" } else { "freezer.state" }
    }

    fn read(&self, name: &str) -> io::Result<String> {
        read(&self.folder, name)
    }
}

fn read(folder: &OwnedFd, name: &str) -> io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    let mut text = String::new();
    file.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

/// Where `path` of a hierarchy is, on a mount of it; both as our own cgroup namespace shows them.
fn below(mount: &Mount, path: &Bytes) -> Option<PathBuf> {
    let relative = |bytes: &Bytes| {
        let path = PathBuf::from(OsStr::from_bytes(bytes.as_slice()));
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        // What lies outside our namespace begins with `/..`.
        (path.is_absolute() && plain).then_some(path)
    };
    let (path, root) = (relative(path)?, relative(&mount.root)?);
    // The root itself has no parent.
    path.parent()?;
    let rest = path.strip_prefix(&root).ok()?;
    Some(Path::new(OsStr::from_bytes(mount.point.as_slice())).join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(root: &str) -> Mount {
        let text = format!("30 24 0:26 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        crate::proc::mounts(text.as_bytes()).into_iter().next().unwrap()
    }

    #[test]
    fn a_cgroup_is_found_below_what_is_mounted_of_its_hierarchy() {
        for (root, path, found) in [
            ("/", "/a/b", Some("/sys/fs/cgroup/a/b")),
            ("/a", "/a/b", Some("/sys/fs/cgroup/b")),
            ("/", "/", None),
            ("/a", "/b", None),
            ("/", "/../b", None),
            ("/..", "/b", None),
            ("/", "/a/../../etc", None),
            ("/", "a", None),
            ("/", "", None),
        ] {
            let expected = found.map(PathBuf::from);
            assert_eq!(below(&mount(root), &Bytes::from(path.as_bytes())), expected, "{root} {path}");
        }
    }
}
