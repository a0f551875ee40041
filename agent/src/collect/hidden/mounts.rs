//! What lies under a mount is not seen by who looks: directories that are covered, seen through a copy of the mount below
//! that has nothing on it; and processes whose directory in /proc is covered, in any mount namespace, seen through a procfs
//! of our own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;

use super::super::Context;
use super::super::attempts::{Attempts, read_bounded};
use super::super::exe::MOUNTINFO_MAX;
use super::super::procdir::ProcDir;
use super::super::system::{Attributes, statx};
use super::finding::{Finding, Report, take};
use super::views::kernels_own;
use crate::bundle::writer::Error;
use crate::proc::{Mount, mounts, namespace_inode};
use crate::system::mount_tree;
use crate::text::{Bytes, escape};

/// Mounts and mount namespaces that are looked at.
const MOUNTS_MAX: usize = 2_000;
const NAMESPACES_MAX: usize = 1_000;
/// Names that are told of what is covered.
const NAMES_MAX: usize = 50;

const COVERED: &str = "something is mounted over a directory that is not empty";
const ELSEWHERE: &str = "in another mount namespace something is mounted over a process's directory in /proc";

/// Where systems mount file systems while they start, and what was written there before then stays below.
const USUAL: &[&[u8]] = &[
    b"/",
    b"/boot",
    b"/dev",
    b"/home",
    b"/mnt",
    b"/proc",
    b"/run",
    b"/srv",
    b"/sys",
    b"/tmp",
    b"/var",
    b"/var/log",
    b"/var/tmp",
];

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let (job, tree) = (context.job, context.tree);
    let proc = &job.places.proc;
    let living = tree.nodes().filter(|node| node.lives_in(job.facts.boot)).map(|node| node.id);
    take(&mut context.noted, attempts, ("what lies under mounts", "mounts"), |room| {
        let mut report = Report::default();
        let text = kernels_own(&proc.join("self/mountinfo"), MOUNTINFO_MAX)?;
        let ours = mounts(&text);
        for mount in to_look_under(&ours, &job.places.root).into_iter().take(MOUNTS_MAX) {
            if Instant::now() >= room.deadline {
                report.lack("not all mounts could be looked at in time".to_owned());
                break;
            }
            report.compared("mounts", 1);
            match under(&mount) {
                Ok(Some(names)) => report.add(covered(&mount, &names)),
                Ok(None) => {}
                Err(error) => report.lack(format!("under {}: {error}", escape(mount.top.point.as_slice()))),
            }
        }
        let mut seen = BTreeSet::new();
        for dir in living.filter_map(|id| ProcDir::open(proc, id).ok()) {
            if Instant::now() >= room.deadline || seen.len() >= NAMESPACES_MAX {
                report.lack("not all mount namespaces could be looked at".to_owned());
                break;
            }
            let namespace = dir.link("ns/mnt").ok().and_then(|link| namespace_inode(&link));
            let Some(namespace) = namespace.filter(|namespace| seen.insert(*namespace)) else { continue };
            let theirs =
                dir.text("mountinfo", MOUNTINFO_MAX).map(|(text, _)| mounts(&text)).unwrap_or_default();
            report.extend(
                over_processes(&theirs)
                    .into_iter()
                    .filter(|mount| !ours.iter().any(|our| is_copy(our, mount)))
                    .map(|mount| {
                        Finding::new(mount.point.clone(), ELSEWHERE)
                            .view(
                                "mount namespace",
                                format!("mnt:[{namespace}], of {}", dir.id().short()).as_bytes(),
                            )
                            .view("mountinfo", described(mount).as_bytes())
                    }),
            );
        }
        report.compared("mount namespaces", seen.len());
        Ok(report)
    })
}

/// A mount, and what it lies on.
#[derive(Debug, PartialEq, Eq)]
struct Over {
    top: Mount,
    below: Mount,
    /// The way from the mount point of `below` to that of `top`.
    way: Vec<u8>,
}

/// The mounts below `root` that may hide something: not where systems mount anyway, not on what serves itself or is the
/// kernel's own. Pure.
fn to_look_under(all: &[Mount], root: &Path) -> Vec<Over> {
    use std::os::unix::ffi::OsStrExt;
    let by_id: HashMap<u32, &Mount> = all.iter().map(|mount| (mount.id, mount)).collect();
    let root = root.as_os_str().as_bytes().strip_suffix(b"/").unwrap_or(root.as_os_str().as_bytes());
    let one = |mount: &Mount| {
        let below = *by_id.get(&mount.parent).filter(|below| below.id != mount.id)?;
        let host = mount.point.as_slice().strip_prefix(root)?;
        let kernels = [&b"/dev/"[..], b"/proc/", b"/sys/"].iter().any(|area| host.starts_with(area));
        // An automount lies below what it mounts. No way to it may lead over a server that might never answer.
        let far = |path: &[u8]| {
            let over = |mount: &Mount| {
                path.strip_prefix(mount.point.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
            };
            all.iter().any(|mount| mount.is_remote() && over(mount))
        };
        if USUAL.contains(&host)
            || kernels
            || below.is_remote()
            || below.is_pseudo()
            || far(mount.point.as_slice())
        {
            return None;
        }
        let point = below.point.as_slice();
        let point = point.strip_suffix(b"/").unwrap_or(point);
        let way = mount.point.as_slice().strip_prefix(point)?;
        let way = way.strip_prefix(b"/")?.to_vec();
        Some(Over { top: mount.clone(), below: below.clone(), way })
    };
    all.iter().filter_map(one).collect()
}

/// The names under a mount; none where there is nothing, no directory, or the very same directory.
fn under(mount: &Over) -> nix::Result<Option<BTreeMap<Vec<u8>, u64>>> {
    let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let below = point(&mount.below)?;
    let error = |error: std::io::Error| nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0));
    // Something else lies on that one as well: then it is not what we would look at.
    let found = statx(&below, c"").map_err(error)?;
    if found.mount.is_some_and(|id| id != u64::from(mount.below.id)) {
        return Ok(None);
    }
    let mut at: OwnedFd = mount_tree::without_mounts_on_it(&below).map_err(error)?;
    for part in mount.way.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        at = openat(&at, part, path | OFlag::O_NOFOLLOW, Mode::empty())?;
    }
    let covered = statx(&at, c"").map_err(error)?;
    if !covered.is_dir() || shows_the_same(mount, &covered) {
        return Ok(None);
    }
    let list = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOATIME;
    let mut dir = Dir::openat(&at, c".", list, Mode::empty())?;
    let mut names = BTreeMap::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b".." | b"lost+found") && names.len() < NAMES_MAX {
            names.insert(name.to_vec(), entry.ino());
        }
    }
    Ok((!names.is_empty()).then_some(names))
}

/// Where something is mounted, as a path only.
#[expect(
    clippy::disallowed_methods,
    reason = "a mount point, to which no way leads over a server that may not answer"
)]
fn point(mount: &Mount) -> nix::Result<OwnedFd> {
    open(mount.point.as_slice(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// A directory mounted over itself (to be read-only, say) hides nothing.
fn shows_the_same(mount: &Over, covered: &Attributes) -> bool {
    if mount.top.is_remote() {
        return false;
    }
    let top = point(&mount.top);
    let top = top.ok().and_then(|top| statx(top, c"").ok());
    top.is_some_and(|top| (top.device, top.inode) == (covered.device, covered.inode))
}

fn covered(mount: &Over, names: &BTreeMap<Vec<u8>, u64>) -> Finding {
    let names: Vec<String> =
        names.iter().map(|(name, inode)| format!("{} (inode {inode})", escape(name))).collect();
    Finding::new(mount.top.point.clone(), COVERED)
        .view("mountinfo", described(&mount.top).as_bytes())
        .view("the file system below, with nothing mounted on it", names.join(", ").as_bytes())
}

fn described(mount: &Mount) -> String {
    format!("{} of {} ({}), on mount {}", mount.root, mount.source, mount.kind, mount.parent)
}

/// A new namespace begins with a copy of each mount, under another number.
fn is_copy(one: &Mount, other: &Mount) -> bool {
    (&one.point, &one.root, one.device) == (&other.point, &other.root, other.device)
}

/// Those of a mount namespace that lie over a process's directory, wherever /proc is mounted there.
fn over_processes(all: &[Mount]) -> Vec<&Mount> {
    let procs: Vec<&Mount> = all.iter().filter(|mount| mount.kind.as_slice() == b"proc").collect();
    let inside = |mount: &&Mount| {
        procs.iter().filter(|proc| proc.id != mount.id).any(|proc| {
            let way = mount.point.as_slice().strip_prefix(proc.point.as_slice());
            let first = way.and_then(|way| way.strip_prefix(b"/")?.split(|&byte| byte == b'/').next());
            first.is_some_and(|first| !first.is_empty() && first.iter().all(u8::is_ascii_digit))
        })
    };
    all.iter().filter(inside).collect()
}

/// What a procfs of our own says of a process, whatever is mounted over its directory: name, executable, command line.
pub(super) fn beneath(pid: u32) -> Option<Bytes> {
    let proc = mount_tree::own_proc().ok()?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let dir = openat(&proc, pid.to_string().as_str(), flags, Mode::empty()).ok()?;
    let text = |name: &str| {
        let file = openat(&dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        read_bounded(std::fs::File::from(file), 4096).ok().map(|(text, _)| text)
    };
    let comm = text("comm")?;
    let executable = readlinkat(&dir, "exe").map(std::ffi::OsString::into_encoded_bytes).unwrap_or_default();
    let command = text("cmdline").unwrap_or_default();
    let words: Vec<&[u8]> = command.split(|&byte| byte == 0).filter(|word| !word.is_empty()).collect();
    Some(Bytes(
        [b"name ", comm.trim_ascii_end(), b", executable ", &executable, b", command ", &words.join(&b' ')]
            .concat(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Mount> {
        mounts(text.as_bytes())
    }

    const HOST: &str = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:5 / /proc rw - proc proc rw\n22 20 0:6 / /dev rw - devtmpfs x rw\n\
        23 20 0:7 / /run rw - tmpfs x rw\n24 20 0:8 / /tmp rw - tmpfs x rw\n25 21 0:9 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n\
        26 25 0:10 / /proc/sys/fs/binfmt_misc rw - binfmt_misc x rw\n27 22 0:11 / /dev/shm rw - tmpfs x rw\n\
        28 20 0:12 / /mnt/far rw - nfs4 x rw\n29 28 0:13 / /mnt/far/x rw - tmpfs x rw\n30 20 0:14 / /auto rw - autofs x rw\n\
        31 30 8:3 / /auto rw - ext4 /dev/sda3 rw\n";

    #[test]
    fn mounts_over_ordinary_directories_are_looked_under() {
        let text = format!(
            "{HOST}40 20 0:30 / /usr/lib/x rw - tmpfs none rw\n41 24 8:1 /a /tmp/.x/y rw - ext4 /dev/sda1 rw\n42 40 0:31 / /usr/lib/x rw - tmpfs none rw\n"
        );
        let found = to_look_under(&all(&text), Path::new("/"));
        let ways: Vec<(u32, &[u8])> = found.iter().map(|over| (over.top.id, over.way.as_slice())).collect();
        assert_eq!(ways, [(28, &b"mnt/far"[..]), (30, b"auto"), (40, b"usr/lib/x"), (41, b".x/y")]);
        let below: Vec<u32> = found.iter().map(|over| over.below.id).collect();
        assert_eq!(below, [20, 20, 20, 24]);
    }

    #[test]
    fn what_systems_mount_while_they_start_is_not() {
        for text in [
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
            "20 20 8:1 / / rw - ext4 /dev/sda1 rw\n",
            "20 1 8:1 / / rw - ext4 x rw\n24 20 0:8 / /tmp rw - tmpfs x rw\n25 20 0:9 / /home rw - ext4 x rw\n",
            "20 1 8:1 / / rw - ext4 x rw\n25 99 0:9 / /usr rw - ext4 x rw\n",
            "22 1 0:6 / /dev rw - devtmpfs x rw\n27 22 0:11 / /dev/shm rw - tmpfs x rw\n",
            "28 1 0:12 / /far rw - fuse.sshfs x rw\n29 28 0:13 / /far/x rw - tmpfs x rw\n",
            "21 1 0:5 / /proc rw - proc x rw\n29 21 0:13 / /proc/77 rw - tmpfs x rw\n",
            "broken\n",
        ] {
            assert_eq!(to_look_under(&all(text), Path::new("/")), [], "{text}");
        }
        let inside = "20 1 8:1 / /host rw - ext4 x rw\n24 20 0:8 / /host/tmp rw - tmpfs x rw\n25 20 0:8 / /host/x rw - tmpfs x rw\n";
        let found = to_look_under(&all(inside), Path::new("/host/"));
        assert_eq!(found.iter().map(|over| over.top.id).collect::<Vec<_>>(), [25]);
    }

    #[test]
    fn mounts_over_processes_are_known_wherever_proc_is() {
        let text = "21 1 0:5 / /host/proc rw - proc proc rw\n2 21 0:6 / /host/proc/77 rw - tmpfs none rw\n3 21 0:6 / /host/proc/78/fd rw - tmpfs none rw\n\
            4 21 0:6 / /host/proc/sys rw - proc proc rw\n5 21 0:6 / /proc/79 rw - tmpfs none rw\n6 1 0:6 / /host/proc7/7 rw - tmpfs none rw\n";
        let found: Vec<u32> = over_processes(&all(text)).iter().map(|mount| mount.id).collect();
        assert_eq!(found, [2, 3]);
        assert_eq!(over_processes(&all("5 21 0:6 / /proc/79 rw - tmpfs none rw\n")), Vec::<&Mount>::new());
    }
}
