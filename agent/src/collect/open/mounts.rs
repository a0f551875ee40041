//! Which mounts may be entered, and by which path a mount is known before anybody touches it.

use std::collections::HashMap;
use std::path::Path;

use super::mounted::REMOTE;
use crate::collect::attempts::{Miss, read_bounded};
use crate::collect::exe::MOUNTINFO_MAX;
use crate::collect::system::Attributes;
use crate::proc::mounts;

/// Why what is the kernel's own words is not entered.
pub(super) const KERNEL: &str = "on a file system of the kernel's own";
const UNSEEN: &str = "on a file system that is mounted nowhere in sight, which may never answer";

/// Our own view of what is mounted.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Why what is mounted at a path may not be entered; of several, the worst.
    points: HashMap<Vec<u8>, Option<&'static str>>,
    /// The same by the mount's number.
    numbers: HashMap<u64, Option<&'static str>>,
}

impl Table {
    pub(super) fn of(mountinfo: &[u8]) -> Self {
        let mut table = Self::default();
        for mount in mounts(mountinfo) {
            let why = if mount.is_remote() {
                Some(REMOTE)
            } else if mount.is_pseudo() {
                Some(KERNEL)
            } else {
                None
            };
            table.numbers.insert(u64::from(mount.id), why);
            let point = table.points.entry(mount.point.0).or_insert(why);
            *point = if why == Some(REMOTE) { why } else { point.or(why) };
        }
        table
    }

    /// Whether something is known to be mounted at `point`.
    pub(super) fn has(&self, point: &[u8]) -> bool {
        self.points.contains_key(point)
    }

    /// Whether the mount at `point` may be touched.
    pub(super) fn may_cross(&self, point: &[u8]) -> Result<(), Miss> {
        self.points.get(point).copied().flatten().map_or(Ok(()), |why| Err(Miss::refused(why)))
    }

    /// Whether what was reached lies on a mount that may be entered: another may have been laid over it meanwhile.
    pub(super) fn may_be_on(&self, reached: &Attributes) -> Result<(), Miss> {
        let Some(number) = reached.mount else { return Ok(()) };
        self.numbers
            .get(&number)
            .copied()
            .unwrap_or(Some(UNSEEN))
            .map_or(Ok(()), |why| Err(Miss::refused(why)))
    }
}

/// The `mountinfo` of this process at this moment.
#[expect(clippy::disallowed_methods, reason = "it is the kernel's")]
pub(super) fn mountinfo(proc: &Path) -> Vec<u8> {
    let text = std::fs::File::open(proc.join("self/mountinfo"));
    text.and_then(|file| read_bounded(file, MOUNTINFO_MAX)).map(|(text, _)| text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::system::statx;

    #[test]
    fn a_mount_is_known_by_its_place_and_by_its_number() {
        let text = b"20 1 8:1 / / rw - ext4 x rw\n21 20 0:40 / /a rw - tmpfs x rw\n22 21 0:41 / /a rw - fuse.x x rw\n\
            23 20 0:42 / /b\\040c rw - tmpfs x rw\n24 20 0:43 / /auto rw - autofs x rw\n\
            25 20 0:44 / /k rw - tmpfs x rw\n26 25 0:45 / /k rw - proc x rw\n";
        let table = Table::of(text);
        for (point, expected) in [
            ("/", None),
            ("/a", Some(REMOTE)),
            ("/b c", None),
            ("/auto", Some(REMOTE)),
            ("/k", Some(KERNEL)),
            ("/none", None),
            ("", None),
        ] {
            let why = table.may_cross(point.as_bytes()).map_err(|miss| miss.detail);
            assert_eq!(why, expected.map_or(Ok(()), |why| Err(why.to_owned())), "{point}");
        }
        assert!(table.has(b"/k") && !table.has(b"/none"));
        let here = statx(std::fs::File::open("/").unwrap(), c"").unwrap();
        for (mount, expected) in
            [(Some(20), true), (Some(21), true), (Some(22), false), (Some(77), false), (None, true)]
        {
            assert_eq!(table.may_be_on(&Attributes { mount, ..here }).is_ok(), expected, "{mount:?}");
        }
    }
}
