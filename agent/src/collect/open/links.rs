//! Symbolic links that may be followed: those of root's own, in a directory that nobody else may write. Such are `/bin`,
//! `/var/run` and `sites-enabled/x`; what an attacker without root has laid leads nowhere.

use std::os::unix::ffi::OsStrExt;

use nix::fcntl::readlinkat;

use super::walk::{Entry, Walker};
use crate::collect::attempts::Miss;
use crate::collect::system::Attributes;
use crate::text::escape;

/// Links on one path (the kernel follows 40).
const LINKS_MAX: usize = 8;

impl Walker {
    /// What stands at an absolute `path` of the host, over trusted links; its path is the one without links.
    pub(in crate::collect) fn resolve(&self, path: &[u8]) -> Result<Entry, Miss> {
        let mut way = vec![self.top()?];
        let mut links = 0;
        let mut names = Vec::new();
        push(&mut names, path);
        while let Some(name) = names.pop() {
            if name == b".." {
                // Above the root there is only the root.
                way.truncate(way.len().saturating_sub(1).max(1));
                continue;
            }
            let Some(folder) = way.last() else { break };
            let entry = self.child(folder, &name)?;
            if !entry.attributes.is_link() {
                way.push(entry);
                continue;
            }
            links += 1;
            let target = readlinkat(&entry.fd, c"").unwrap_or_default();
            if !is_trusted(&folder.attributes, &entry.attributes) || links > LINKS_MAX {
                let target = escape(target.as_bytes());
                return Err(Miss::refused(format!("a symbolic link to {target}, which is not followed")));
            }
            if target.as_bytes().starts_with(b"/") {
                way.truncate(1);
            }
            push(&mut names, target.as_bytes());
        }
        way.pop().ok_or_else(|| Miss::refused("there is no root"))
    }
}

/// The names of `path`, the first one last.
fn push(names: &mut Vec<Vec<u8>>, path: &[u8]) {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    names.extend(parts.rev().map(<[u8]>::to_vec));
}

fn is_trusted(folder: &Attributes, link: &Attributes) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    link.uid == 0 && folder.uid == 0 && folder.mode & OTHERS_WRITE == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::bundle::Outcome;

    /// Links are trusted for their owner: the test is root's, as `cargo xtask test` is.
    #[test]
    fn roots_links_are_followed_within_the_root_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["usr/lib/systemd", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::write(root.join("usr/lib/systemd/x"), b"unit").unwrap();
        std::fs::write(root.join("secret"), b"s").unwrap();
        std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/usr/lib/systemd", root.join("etc/units")).unwrap();
        symlink("../../../../usr/lib/systemd/x", root.join("etc/up")).unwrap();
        symlink("round", root.join("etc/round")).unwrap();
        symlink("/secret", root.join("tmp/trap")).unwrap();
        symlink("/tmp/trap", root.join("etc/to-trap")).unwrap();
        let walker = Walker::new(root, Path::new("/proc"), 100, Instant::now() + Duration::from_mins(1));
        for path in [&b"/lib/systemd/x"[..], b"/etc/units/x", b"/etc/up", b"//lib/./systemd/x"] {
            let entry = walker.resolve(path).unwrap();
            assert_eq!(escape(&entry.path), "/usr/lib/systemd/x", "{}", escape(path));
            assert!(entry.attributes.is_file());
        }
        for path in [&b"/tmp/trap"[..], b"/etc/to-trap", b"/etc/round", b"/a\0b"] {
            assert_eq!(walker.resolve(path).unwrap_err().outcome, Outcome::Refused, "{}", escape(path));
        }
        assert_eq!(walker.resolve(b"/none").unwrap_err().outcome, Outcome::Gone);
        assert_eq!(walker.resolve(b"/").unwrap().path, b"");
    }
}
