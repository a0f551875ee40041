//! Entries of directories: what the kernel lists (getdents) against how many subdirectories the directory's own link count
//! says, and against what is in the blocks of the disk (ext4). Looked at are the directories that intruders use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::dir::Type;

use super::super::Context;
use super::super::attempts::{Attempts, Miss};
use super::super::exe::MOUNTINFO_MAX;
use super::super::passwd::homes;
use super::super::system::statx;
use super::super::walk::{Entry, Walker};
use super::ext4::Disk;
use super::finding::{Finding, Report, take};
use super::views::{kernels_own, missing};
use crate::bundle::writer::Error;
use crate::proc::{Mount, mounts};
use crate::text::{Bytes, escape};

/// Where intruders put and hide things.
const FOLDERS: &[&[u8]] = &[
    b"/",
    b"/tmp",
    b"/var/tmp",
    b"/dev/shm",
    b"/root",
    b"/root/.ssh",
    b"/etc",
    b"/etc/cron.d",
    b"/etc/cron.daily",
    b"/etc/cron.hourly",
    b"/etc/systemd/system",
    b"/etc/init.d",
    b"/etc/profile.d",
    b"/etc/ld.so.conf.d",
    b"/etc/pam.d",
    b"/etc/modules-load.d",
    b"/etc/udev/rules.d",
    b"/var/spool/cron/crontabs",
    b"/usr/bin",
    b"/usr/sbin",
    b"/usr/local/bin",
    b"/usr/local/sbin",
    b"/usr/local/lib",
    b"/usr/lib/systemd/system",
    b"/opt",
    b"/srv",
    b"/home",
    b"/var/www",
    b"/lib/modules",
];
const HOMES_MAX: usize = 100;
/// A file that was removed may be seen on the disk until the journal has that: 5 s, and some more.
const JOURNAL: Duration = Duration::from_secs(7);

/// File systems in which a directory's links are its own two names and each subdirectory's `..`.
const COUNTED: [&[u8]; 4] = [b"ext2", b"ext3", b"ext4", b"tmpfs"];
const ON_DISK: [&[u8]; 3] = [b"ext4", b"ext3", b"ext2"];

const COUNT: &str = "the directory has more subdirectories than the kernel lists";
const DISK: &str = "the disk has an entry in this directory that the kernel does not list";

/// One look at a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Look {
    names: BTreeSet<Vec<u8>>,
    folders: u32,
    /// Whether these are all, and of each it is known whether it is a directory.
    whole: bool,
    /// Its links before and after.
    links: [u32; 2],
}

/// A directory, and the way to it from the root of its file system.
type Folder<'a> = (&'a Entry, Vec<u8>);
/// What the disk has, and what the kernel lists.
type Both = (BTreeSet<Vec<u8>>, Look);

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let (places, whole) = (&context.job.places, context.job.facts.initial_pid_namespace);
    take(
        &mut context.noted,
        attempts,
        ("entries of directories that are not shown everywhere", "entries"),
        |room| {
            let mut report = Report::default();
            let text = kernels_own(&places.proc.join("self/mountinfo"), MOUNTINFO_MAX)?;
            let mounts = mounts(&text);
            let mut walker = Walker::new(&places.root, &places.proc, usize::MAX, room.deadline);
            let homes = homes(&walker).into_iter().take(HOMES_MAX).map(|user| user.home);
            let folders: BTreeSet<Vec<u8>> = FOLDERS.iter().map(|path| path.to_vec()).chain(homes).collect();
            let entries: Vec<Entry> = folders.iter().filter_map(|path| walker.find(path).ok()).collect();
            for folder in entries.iter().filter(|entry| entry.attributes.is_dir()) {
                let kind = mount_of(&mounts, folder).map(|mount| mount.kind.clone()).unwrap_or_default();
                if !COUNTED.contains(&kind.as_slice()) {
                    continue;
                }
                report.compared("link counts", 1);
                let looks = [look(&mut walker, folder), look(&mut walker, folder)];
                report.extend(uncounted(&folder.path, &looks));
            }
            if whole {
                on_disk(&mut walker, (&places.root, &mounts), &entries, room.deadline, &mut report);
            } else {
                report.lack("block devices belong to the whole machine, and the agent lives in a PID namespace of its own".to_owned());
            }
            Ok(report)
        },
    )
}

fn look(walker: &mut Walker, folder: &Entry) -> Look {
    let links = || statx(&folder.fd, c"").map_or(0, |now| now.links);
    let before = links();
    let lacks = walker.lacks.len();
    let Ok(names) = walker.names(&folder.fd) else { return Look::default() };
    let known = names.iter().all(|(_, kind)| kind.is_some());
    let folders = names.iter().filter(|(_, kind)| *kind == Some(Type::Directory)).count();
    Look {
        whole: known && walker.lacks.len() == lacks,
        folders: u32::try_from(folders).unwrap_or(u32::MAX),
        names: names.into_iter().map(|(name, _)| name.into_bytes()).collect(),
        links: [before, links()],
    }
}

/// Whether the count says that there are more, in both looks, and did not change meanwhile. Pure.
fn uncounted(path: &[u8], looks: &[Look; 2]) -> Option<Finding> {
    let [first, second] = looks;
    let steady =
        first.links == second.links && first.links.iter().all(|links| Some(links) == first.links.first());
    let more = |look: &Look| {
        let [links, _] = look.links;
        look.whole && links > 2 && links.saturating_sub(2) > look.folders
    };
    (steady && more(first) && more(second)).then(|| {
        let [links, _] = first.links;
        let path = if path.is_empty() { &b"/"[..] } else { path };
        Finding::new(path, COUNT)
            .view(
                "links of the directory",
                format!("{links}: {} subdirectories", links.saturating_sub(2)).as_bytes(),
            )
            .view("getdents, in two looks", format!("{} subdirectories", second.folders).as_bytes())
    })
}

fn mount_of<'a>(mounts: &'a [Mount], folder: &Entry) -> Option<&'a Mount> {
    let id = folder.attributes.mount?;
    mounts.iter().find(|mount| u64::from(mount.id) == id)
}

/// Compares with the disk, file system by file system.
fn on_disk(
    walker: &mut Walker,
    (root, mounts): (&Path, &[Mount]),
    entries: &[Entry],
    deadline: Instant,
    report: &mut Report,
) {
    let mut by_device: BTreeMap<(u32, u32), Vec<Folder<'_>>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.attributes.is_dir()) {
        if let Some(mount) = mount_of(mounts, entry).filter(|mount| ON_DISK.contains(&mount.kind.as_slice()))
            && let Some(path) = on_file_system(mount, root, &entry.path)
        {
            by_device.entry(mount.device).or_default().push((entry, path));
        }
    }
    for (device, folders) in by_device {
        let mut compare = || -> Result<(), Miss> {
            let first = disk_look(walker, device, &folders)?;
            report.compared("directories on the disk", first.len());
            let differ = |(disk, listed): &Both| !missing(&[disk], &[&listed.names]).is_empty();
            if !first.iter().any(differ) {
                return Ok(());
            }
            if Instant::now() + JOURNAL >= deadline {
                return Err(Miss::partial("there was no time for a second look"));
            }
            thread::sleep(JOURNAL);
            let second = disk_look(walker, device, &folders)?;
            for (((entry, _), first), second) in folders.iter().zip(&first).zip(&second) {
                report.extend(hidden(&entry.path, first, second));
            }
            Ok(())
        };
        if let Err(miss) = compare() {
            report.lack(format!("device {}:{}: {}", device.0, device.1, miss.detail));
        }
    }
}

/// The disk first, then the kernel: what was removed in between is on the disk only, and once.
fn disk_look(walker: &mut Walker, device: (u32, u32), folders: &[Folder<'_>]) -> Result<Vec<Both>, Miss> {
    let disk = Disk::open(open_device(device)?)?;
    folders.iter().map(|(entry, path)| Ok((disk.names(path)?, look(walker, entry)))).collect()
}

/// In both looks on the disk, and in none of the kernel's. Pure.
fn hidden(path: &[u8], first: &Both, second: &Both) -> Vec<Finding> {
    if !first.1.whole || !second.1.whole {
        return Vec::new();
    }
    let names = missing(&[&first.0, &second.0], &[&first.1.names, &second.1.names]);
    let finding = |name: Vec<u8>| {
        let folder = path.strip_suffix(b"/").unwrap_or(path);
        Finding::new(Bytes([folder, b"/", &name].concat()), DISK)
            .view("blocks of the disk, in two looks", "there")
            .view("getdents, in two looks", "not listed")
    };
    names.into_iter().map(finding).collect()
}

/// The way to a host's path from the root of the file system that `mount` shows a part of.
fn on_file_system(mount: &Mount, root: &Path, path: &[u8]) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let root = root.as_os_str().as_bytes();
    let whole = [root.strip_suffix(b"/").unwrap_or(root), path].concat();
    let point = mount.point.as_slice();
    let below = whole.strip_prefix(point.strip_suffix(b"/").unwrap_or(point))?;
    let top = mount.root.as_slice();
    let found = [top.strip_suffix(b"/").unwrap_or(top), below].concat();
    Some(if found.is_empty() { b"/".to_vec() } else { found })
}

/// The node of a block device, by the name that sysfs has for it.
#[expect(
    clippy::disallowed_methods,
    reason = "a name that the kernel gave, without a link, and it is looked at what it is"
)]
fn open_device(device: (u32, u32)) -> Result<File, Miss> {
    let (major, minor) = device;
    let text = kernels_own(Path::new(&format!("/sys/dev/block/{major}:{minor}/uevent")), 4096)?;
    let name = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"DEVNAME="));
    let name = name
        .and_then(|name| std::str::from_utf8(name).ok())
        .ok_or_else(|| Miss::refused("it has no name in /dev"))?;
    let path = Path::new("/dev").join(name);
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
    let file = options.open(&path).map_err(|error| {
        Miss::at(&format!("open {}", escape(path.as_os_str().as_encoded_bytes())), &error)
    })?;
    let found = file.metadata().map_err(|error| Miss::at("stat the device", &error))?;
    if found.file_type().is_block_device()
        && found.rdev() == nix::sys::stat::makedev(major.into(), minor.into())
    {
        Ok(file)
    } else {
        Err(Miss::refused(format!("{} is another device", path.display())))
    }
}

#[cfg(test)]
#[path = "entries_test.rs"]
mod tests;
