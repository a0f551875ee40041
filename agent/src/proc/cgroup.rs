//! `/proc/PID/cgroup`: `hierarchy:controllers:path` lines (cgroups(7)); a cgroup's name cannot hold a newline.

use super::decimal;
use crate::text::Bytes;

/// Hierarchies a kernel can have at once are a dozen; a text with more is not one.
const MOST: usize = 64;

/// One line: where a process stands in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// 0 is the unified hierarchy (v2).
    pub hierarchy: u32,
    /// The v1 controllers or `name=...`, comma-separated; empty for v2.
    pub controllers: Bytes,
    /// Relative to the hierarchy's root, as the reader's cgroup namespace shows it; may end in ` (deleted)`.
    pub path: Bytes,
}

/// The lines of `text`; broken ones are left out.
pub fn memberships(text: &[u8]) -> Vec<Membership> {
    text.split(|&byte| byte == b'\n').filter_map(membership).take(MOST).collect()
}

/// The path in the unified hierarchy, if the kernel has one.
pub fn unified_path(text: &[u8]) -> Option<Bytes> {
    memberships(text).into_iter().find(|member| member.hierarchy == 0).map(|member| member.path)
}

fn membership(line: &[u8]) -> Option<Membership> {
    let mut parts = line.splitn(3, |&byte| byte == b':');
    let (hierarchy, controllers, path) = (decimal(parts.next()?)?, parts.next()?, parts.next()?);
    Some(Membership { hierarchy, controllers: Bytes::from(controllers), path: Bytes::from(path) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_versions_are_read_and_colons_stay_in_the_path() {
        let text = b"12:pids:/a\n1:name=systemd:/b:c\n0::/kubepods.slice/cri-containerd:ab (deleted)\n";
        let all = memberships(text);
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].path, Bytes::from("/b:c"));
        assert_eq!(unified_path(text), Some(Bytes::from("/kubepods.slice/cri-containerd:ab (deleted)")));
        assert_eq!(unified_path(b"1:cpu:/\n"), None);
    }

    #[test]
    fn broken_lines_are_left_out() {
        assert_eq!(memberships(b"\n:\n::\nx::/\n0:\n0\n-1::/\n"), vec![]);
        assert_eq!(memberships("1::/\n".repeat(1000).as_bytes()).len(), MOST);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_left_out(bytes: Vec<u8>) {
            prop_assert!(memberships(&bytes).len() <= MOST);
        }
    }
}
