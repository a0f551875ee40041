//! Which mounts are to be watched. Pure.

use std::collections::{HashMap, HashSet};

use crate::proc::Mount;

/// A path of mounts upon mounts is not longer than this.
const DEPTH_MAX: usize = 256;

/// The mounts that can be watched without ever waiting for another machine or a user's program: neither they nor what
/// they lie on are served by one.
pub(super) fn watchable(mounts: &[Mount]) -> Vec<&Mount> {
    let by_id: HashMap<u32, &Mount> = mounts.iter().map(|mount| (mount.id, mount)).collect();
    let is_reachable = |mount: &Mount| {
        let (mut at, mut steps) = (mount, 0);
        loop {
            if at.is_remote() || steps > DEPTH_MAX {
                return false;
            }
            match by_id.get(&at.parent) {
                Some(parent) if parent.id != at.id => (at, steps) = (parent, steps + 1),
                _ => return true,
            }
        }
    };
    mounts.iter().filter(|mount| !mount.is_pseudo() && is_reachable(mount)).collect()
}

/// One mount of each file system.
pub(super) fn one_of_each_file_system<'a>(mounts: &[&'a Mount]) -> Vec<&'a Mount> {
    let mut seen = HashSet::new();
    mounts.iter().filter(|mount| seen.insert(mount.device)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::mounts;

    const TABLE: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        2 1 0:5 / /proc rw - proc proc rw\n\
        3 1 0:6 / /home/u/fuse rw - fuse.sshfs x rw\n\
        4 3 0:7 / /home/u/fuse/deep rw - tmpfs tmpfs rw\n\
        5 1 0:8 / /tmp rw - tmpfs tmpfs rw\n\
        6 1 8:1 /srv /srv rw - ext4 /dev/sda1 rw\n\
        7 1 0:9 / /net rw - nfs4 host:/ rw\n\
        8 8 0:10 / /odd rw - tmpfs tmpfs rw\n";

    #[test]
    fn what_lies_on_another_machine_or_a_users_program_is_left_alone() {
        let all = mounts(TABLE);
        let ids: Vec<u32> = watchable(&all).iter().map(|mount| mount.id).collect();
        assert_eq!(ids, [1, 5, 6, 8]);
    }

    #[test]
    fn a_file_system_is_marked_once() {
        let all = mounts(TABLE);
        let ids: Vec<u32> = one_of_each_file_system(&watchable(&all)).iter().map(|mount| mount.id).collect();
        assert_eq!(ids, [1, 5, 8]);
    }

    #[test]
    fn mounts_that_lie_on_each_other_in_a_ring_end() {
        let all = mounts(b"1 2 8:1 / / rw - ext4 x rw\n2 1 8:2 / /a rw - ext4 x rw\n");
        assert!(watchable(&all).is_empty());
    }
}
