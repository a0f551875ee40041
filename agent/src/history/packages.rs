//! Which files the distribution's packages brought, by dpkg's lists (dpkg-query(1), `/var/lib/dpkg/info/*.list`).

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::policy;
use crate::system::process::{Attributes, statx};

/// Files of all packages together; more are not known, and so taken.
const FILES_MAX: usize = 2_000_000;
/// One package's list.
const LIST_MAX: u64 = 64 << 20;
/// A package's files are set up in so many seconds after its list is written.
const SLACK_S: i64 = 600;
/// How often it is asked whether packages were installed.
const FRESH: Duration = Duration::from_secs(10);
/// Folders that are links into /usr where it is merged (file-hierarchy(7)).
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The files, by hashes of their paths: 16 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    root: PathBuf,
    /// With the time (seconds since 1970) of the list that names it; sorted.
    files: Vec<(u64, i64)>,
    /// The lists' folder when they were read.
    read: Option<(i64, i64)>,
    asked: Option<Instant>,
}

impl Packages {
    /// Of the host whose root is `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// Whether a package brought this file, and nobody has replaced it since.
    pub(crate) fn own(&mut self, path: &[u8], known: &Attributes) -> bool {
        if !policy::is_roots(known) {
            return false;
        }
        self.refresh();
        let Some(listed) = self.listed(path) else { return false };
        let changed = known.changed().map_or(i64::MAX, |(seconds, _)| seconds);
        changed <= listed.saturating_add(SLACK_S) && self.is_that_file(path, known)
    }

    /// A container has the same paths: it must be the file of our own root. The path is one that a package has.
    fn is_that_file(&self, path: &[u8], known: &Attributes) -> bool {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let path = self.root.join(std::ffi::OsStr::from_bytes(relative));
        let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
        let own = statx(nix::fcntl::AT_FDCWD, &path);
        own.is_ok_and(|own| own.device == known.device && own.inode == known.inode)
    }

    /// When the newest list that names it was written.
    fn listed(&self, path: &[u8]) -> Option<i64> {
        let hash = hash(path);
        let at = self.files.partition_point(|(other, _)| *other <= hash);
        let (found, time) = self.files.get(at.checked_sub(1)?)?;
        (*found == hash).then_some(*time)
    }

    /// Reads the lists, if they have changed.
    fn refresh(&mut self) {
        if self.asked.is_some_and(|asked| asked.elapsed() < FRESH) {
            return;
        }
        self.asked = Some(Instant::now());
        let folder = lists(&self.root);
        let Ok(metadata) = std::fs::metadata(&folder) else { return };
        let now = Some((metadata.mtime(), metadata.mtime_nsec()));
        if self.read == now {
            return;
        }
        match read(&folder, &merged(&self.root)) {
            Ok(files) => (self.files, self.read) = (files, now),
            Err(failure) => {
                tracing::warn!(
                    "cannot read {}: {failure}; executables of packages are taken too",
                    folder.display()
                );
                self.files = Vec::new();
            }
        }
    }
}

/// What is known of a host's packages, in words, for `doctor`: `None` when nothing is, with the reason.
pub(crate) fn kind(root: &Path) -> Result<&'static str, &'static str> {
    let has = |path: &str| root.join(path).exists();
    if lists(root).is_dir() {
        return Ok("dpkg");
    }
    let rpm = ["var/lib/rpm", "usr/lib/sysimage/rpm"].iter().any(|path| has(path));
    Err(if rpm { "rpm's database is not understood" } else { "no package database that is understood" })
}

fn lists(root: &Path) -> PathBuf {
    root.join("var/lib/dpkg/info")
}

/// Which folders of `root` are links into its usr.
pub(crate) fn merged(root: &Path) -> Vec<&'static str> {
    MERGED.into_iter().filter(|name| root.join(name).is_symlink()).collect()
}

fn read(folder: &Path, merged: &[&str]) -> io::Result<Vec<(u64, i64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "list") {
            continue;
        }
        let file = File::open(&path)?;
        // The inode's own time: a copy of a whole host sets it for list and files alike, and nobody can set it back.
        let time = file.metadata()?.ctime();
        let mut text = Vec::new();
        file.take(LIST_MAX).read_to_end(&mut text)?;
        let room = FILES_MAX.saturating_sub(files.len());
        files.extend(paths(&text, merged).take(room).map(|path| (hash(&path), time)));
    }
    files.sort_unstable();
    files.shrink_to_fit();
    Ok(files)
}

/// The paths of one list as the kernel shows them.
pub(crate) fn paths<'a>(text: &'a [u8], merged: &'a [&str]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let lines = text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"/"));
    lines.map(|line| as_shown(line, merged))
}

/// A package's path as the kernel shows it.
pub(crate) fn as_shown(path: &[u8], merged: &[&str]) -> Vec<u8> {
    let first = path.get(1..).unwrap_or_default().split(|&byte| byte == b'/').next().unwrap_or_default();
    let is_link = merged.iter().any(|name| name.as_bytes() == first);
    if is_link { [b"/usr", path].concat() } else { path.to_vec() }
}

fn hash(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A root with a package that owns /usr/bin/tool, listed below /bin.
    fn root(merged: bool) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("usr/bin")).unwrap();
        std::fs::create_dir_all(at("var/lib/dpkg/info")).unwrap();
        if merged {
            std::os::unix::fs::symlink("usr/bin", at("bin")).unwrap();
        }
        std::fs::write(at("usr/bin/tool"), b"x").unwrap();
        std::fs::set_permissions(at("usr/bin/tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(
            at("var/lib/dpkg/info/tool:amd64.list"),
            "/.\n/bin\n/bin/tool\n/usr/bin/other\nodd\n\n",
        )
        .unwrap();
        std::fs::write(at("var/lib/dpkg/info/tool.md5sums"), "/usr/bin/not-a-list\n").unwrap();
        root
    }

    fn attributes(path: &Path) -> Attributes {
        statx(File::open(path).unwrap(), c"").unwrap()
    }

    #[test]
    fn a_packages_file_is_known_by_the_kernels_path() {
        let root = root(true);
        let known = attributes(&root.path().join("usr/bin/tool"));
        let known = Attributes { uid: 0, ..known };
        let mut packages = Packages::new(root.path());
        assert!(packages.own(b"/usr/bin/tool", &known));
        for path in [&b"/bin/tool"[..], b"/usr/bin/tool2", b"", b"/", b"odd", b"/usr/bin/not-a-list"] {
            assert!(!packages.own(path, &known), "{}", path.escape_ascii());
        }
        assert!(!packages.own(b"/usr/bin/other", &known), "another file than that of our root");
    }

    #[test]
    fn a_replaced_or_writable_file_is_nobodys() {
        let root = root(true);
        let known = Attributes { uid: 0, ..attributes(&root.path().join("usr/bin/tool")) };
        let mut packages = Packages::new(root.path());
        let (seconds, _) = known.changed().unwrap();
        let later = Attributes { times: [None, None, Some((seconds + SLACK_S + 5, 0)), None], ..known };
        assert!(!packages.own(b"/usr/bin/tool", &later));
        assert!(!packages.own(b"/usr/bin/tool", &Attributes { uid: 5, ..known }));
        assert!(!packages.own(b"/usr/bin/tool", &Attributes { mode: known.mode | 0o002, ..known }));
        assert!(!packages.own(b"/usr/bin/tool", &Attributes { inode: known.inode + 1, ..known }));
    }

    #[test]
    fn where_usr_is_not_merged_paths_stay_as_they_are() {
        let root = root(false);
        let known = Attributes { uid: 0, ..attributes(&root.path().join("usr/bin/tool")) };
        assert!(!Packages::new(root.path()).own(b"/usr/bin/tool", &known));
        assert_eq!(kind(root.path()), Ok("dpkg"));
    }

    #[test]
    fn a_host_without_packages_owns_nothing() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("tool"), b"x").unwrap();
        let known = Attributes { uid: 0, ..attributes(&root.path().join("tool")) };
        assert!(!Packages::new(root.path()).own(b"/tool", &known));
        assert!(kind(root.path()).is_err_and(|reason| reason.contains("no package")));
        std::fs::create_dir_all(root.path().join("var/lib/rpm")).unwrap();
        assert!(kind(root.path()).is_err_and(|reason| reason.contains("rpm")));
    }
}
