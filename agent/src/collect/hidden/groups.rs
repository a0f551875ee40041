//! The processes that the kernel's control groups have: another list that is made without /proc.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::exe::MOUNTINFO_MAX;
use super::views::{kernels_entries, kernels_own};
use crate::proc::{Mount, is_reached, mounts};

const GROUPS_MAX: usize = 20_000;
const TEXT_MAX: u64 = 16 << 20;

/// All processes in the groups of one hierarchy; nothing where none is mounted.
pub(super) fn processes(proc: &Path, deadline: Instant) -> Option<BTreeSet<u32>> {
    let text = kernels_own(&proc.join("self/mountinfo"), MOUNTINFO_MAX).ok()?;
    let mut folders: Vec<PathBuf> = vec![hierarchy(&mounts(&text))?];
    let (mut pids, mut left) = (BTreeSet::new(), GROUPS_MAX);
    while let Some(folder) = folders.pop() {
        left = left.saturating_sub(1);
        if left == 0 || Instant::now() >= deadline {
            break;
        }
        // A group of threads does not list processes.
        pids.extend(numbers(&kernels_own(&folder.join("cgroup.procs"), TEXT_MAX).unwrap_or_default()));
        let below = kernels_entries(&folder).into_iter().flatten();
        folders.extend(
            below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    Some(pids)
}

/// Where the unified hierarchy is mounted, or else one of the older ones, whole: a part of it would do as well, but say less.
fn hierarchy(all: &[Mount]) -> Option<PathBuf> {
    let of = |kind: &[u8]| all.iter().find(|mount| mount.kind.as_slice() == kind && is_reached(mount, all));
    let mount = of(b"cgroup2").or_else(|| of(b"cgroup"))?;
    Some(PathBuf::from(OsStr::from_bytes(mount.point.as_slice())))
}

/// One number a line; 0 is somebody in another PID namespace.
fn numbers(text: &[u8]) -> impl Iterator<Item = u32> {
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok()).filter(|pid| *pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_preferred_and_numbers_are_read() {
        let text = b"5 1 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n6 1 0:2 / /sys/fs/cgroup/unified rw - cgroup2 x rw\n";
        assert_eq!(hierarchy(&mounts(text)), Some("/sys/fs/cgroup/unified".into()));
        let first = &text[..text.iter().position(|&byte| byte == b'\n').unwrap()];
        assert_eq!(hierarchy(&mounts(first)), Some("/sys/fs/cgroup/cpu".into()));
        assert_eq!(hierarchy(&mounts(b"1 0 0:1 / / rw - tmpfs x rw\n")), None);
        let covered = [&text[..], b"7 6 0:3 / /sys/fs/cgroup/unified rw - fuse x rw\n"].concat();
        assert_eq!(hierarchy(&mounts(&covered)), Some("/sys/fs/cgroup/cpu".into()));
        let read = |text: &[u8]| numbers(text).collect::<Vec<_>>();
        assert_eq!(read(b"1\n0\n4711\n"), [1, 4711]);
        for text in [&b""[..], b"\n", b"x\n", b"-1\n", b"99999999999\n", b"0\n", b"\xff"] {
            assert_eq!(read(text), Vec::<u32>::new(), "{}", text.escape_ascii());
        }
    }
}
