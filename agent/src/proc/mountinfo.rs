//! `/proc/PID/mountinfo` (proc(5)): what is mounted where; space, tab, newline and backslash are octal escapes.

use std::collections::HashSet;

use super::decimal;
use crate::text::Bytes;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, as in `fdinfo`.
    pub id: u32,
    /// The number of the mount it lies on.
    pub parent: u32,
    /// `st_dev` of the files on it, major and minor (a subvolume's may differ).
    pub device: (u32, u32),
    /// What of the file system is mounted.
    pub root: Bytes,
    /// Where.
    pub point: Bytes,
    /// Type, such as `ext4` or `fuse.sshfs`.
    pub kind: Bytes,
    /// What the file system says it comes from.
    pub source: Bytes,
}

/// The mounts of `text`, in its order; broken lines are left out.
pub fn mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(mount).collect()
}

/// Whether who asks for the point of `mount`, one of `all`, by its path comes to it: whether no other mount lies on it, or on
/// the way to it. Who asks in another's place may wait for ever.
pub fn is_reached(mount: &Mount, all: &[Mount]) -> bool {
    let mut way = HashSet::from([mount.id]);
    let mut next = mount.parent;
    while way.insert(next)
        && let Some(above) = all.iter().find(|one| one.id == next)
    {
        next = above.parent;
    }
    let point = mount.point.as_slice();
    let is_on_the_way = |other: &Mount| match other.point.as_slice() {
        b"/" => true,
        place => point.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
    };
    !all.iter().any(|other| !way.contains(&other.id) && way.contains(&other.parent) && is_on_the_way(other))
}

impl Mount {
    /// Whether its files are served by another machine or by a user's program: who asks may wait for ever.
    pub fn is_remote(&self) -> bool {
        let kind = self.kind.as_slice();
        let family = kind.split(|&byte| byte == b'.').next().unwrap_or_default();
        matches!(
            family,
            b"fuse"
                | b"fuseblk"
                | b"virtiofs"
                | b"nfs"
                | b"nfs4"
                | b"cifs"
                | b"smb3"
                | b"smbfs"
                | b"autofs"
                | b"9p"
                | b"afs"
                | b"ceph"
                | b"coda"
                | b"ncpfs"
                | b"lustre"
                | b"orangefs"
                | b"gfs2"
                | b"ocfs2"
        )
    }

    /// Whether its files are the kernel's own words and not stored anywhere.
    pub fn is_pseudo(&self) -> bool {
        matches!(
            self.kind.as_slice(),
            b"proc"
                | b"sysfs"
                | b"cgroup"
                | b"cgroup2"
                | b"devpts"
                | b"mqueue"
                | b"debugfs"
                | b"tracefs"
                | b"securityfs"
                | b"bpf"
                | b"pstore"
                | b"configfs"
                | b"hugetlbfs"
                | b"binfmt_misc"
                | b"efivarfs"
                | b"fusectl"
                | b"selinuxfs"
                | b"nsfs"
                | b"rpc_pipefs"
                | b"binder"
        )
    }
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = decimal(fields.next()?)?;
    let parent = decimal(fields.next()?)?;
    let device = fields.next()?;
    let colon = device.iter().position(|&byte| byte == b':')?;
    let device = (decimal(device.get(..colon)?)?, decimal(device.get(colon + 1..)?)?);
    let (root, point) = (fields.next()?, fields.next()?);
    // Optional fields end with a single hyphen.
    fields.find(|field| *field == b"-")?;
    let (kind, source) = (fields.next()?, fields.next()?);
    Some(Mount {
        id,
        parent,
        device,
        root: unescape(root),
        point: unescape(point),
        kind: unescape(kind),
        source: unescape(source),
    })
}

/// Undoes `\ooo`; a backslash without three octal digits stays what it is.
pub(crate) fn unescape(field: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if let (b'\\', [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', tail @ ..]) =
            (first, after)
        {
            bytes.push((high & 3) << 6 | (middle & 7) << 3 | (low & 7));
            rest = tail;
        } else {
            bytes.push(first);
        }
    }
    Bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mounts_with_escapes_and_optional_fields_are_read() {
        let text = b"36 35 98:0 /mnt1 /a\\040b\\134 rw,noatime master:1 shared:2 - fuse.sshfs host:/x rw\n\
            1 0 0:2 / / rw - rootfs none rw\nbroken\n2 0 0:2 / /x rw shared:1\n";
        let all = mounts(text);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].id, all[0].parent), (36, 35));
        assert_eq!((all[0].id, all[0].device, &all[0].point), (36, (98, 0), &Bytes::from("/a b\\")));
        assert!(all[0].is_remote() && !all[1].is_remote());
    }

    #[test]
    fn a_mount_that_another_covers_is_not_reached() {
        let reached = |lines: &[&str]| {
            let all = mounts(lines.join("\n").as_bytes());
            all.iter().filter(|mount| is_reached(mount, &all)).map(|mount| mount.id).collect::<Vec<_>>()
        };
        let (root, sys) = ("1 0 0:1 / / rw - ext4 x rw", "2 1 0:2 / /sys rw - sysfs x rw");
        let group = "3 2 0:3 / /sys/fs/cgroup rw - cgroup2 x rw";
        assert_eq!(reached(&[root, sys, group]), [1, 2, 3]);
        assert_eq!(reached(&[root, sys, group, "4 3 0:4 / /sys/fs/cgroup rw - fuse x rw"]), [1, 2, 4]);
        assert_eq!(reached(&[root, sys, group, "4 2 0:4 / /sys rw - fuse x rw"]), [1, 4]);
        assert_eq!(reached(&[root, sys, group, "4 2 0:4 / /sys/fs rw - fuse x rw"]), [1, 2, 4]);
        assert_eq!(reached(&[root, sys, group, "4 2 0:4 / /sys/fs/cg rw - fuse x rw"]), [1, 2, 3, 4]);
        assert_eq!(reached(&[root, sys, group, "4 1 0:4 / / rw - fuse x rw"]), [4]);
        // Nonsense ends.
        assert_eq!(
            reached(&["1 1 0:1 / / rw - x x rw", "2 3 0:2 / /a rw - x x rw", "3 2 0:3 / /b rw - x x rw"]),
            [1, 2, 3]
        );
    }

    #[test]
    fn kinds_are_told_apart() {
        let kind = |kind: &str| mounts(format!("1 0 0:1 / / rw - {kind} none rw").as_bytes())[0].clone();
        for remote in ["fuse", "fuse.s3fs", "nfs4", "cifs", "autofs", "9p"] {
            assert!(kind(remote).is_remote(), "{remote}");
        }
        for local in ["ext4", "tmpfs", "overlay", "xfs", "fusectl", "proc"] {
            assert!(!kind(local).is_remote(), "{local}");
        }
        assert!(kind("proc").is_pseudo() && !kind("tmpfs").is_pseudo());
    }

    #[test]
    fn an_octal_escape_is_one_byte_and_a_half_one_stays() {
        assert_eq!(unescape(b"\\377\\012\\1\\9\\"), Bytes::from(b"\xff\n\\1\\9\\"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_left_out(bytes: Vec<u8>) {
            mounts(&bytes);
        }
    }
}
