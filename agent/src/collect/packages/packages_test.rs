use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

fn lay(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn walker(root: &Path) -> Walker {
    Walker::new(root, Path::new("/proc"), 1_000, Instant::now() + Duration::from_mins(1))
}

fn inventory(root: &Path, wanted: &[&str]) -> (Inventory, Walker) {
    let mut walker = walker(root);
    let wanted: HashSet<Vec<u8>> = wanted.iter().map(|path| path.as_bytes().to_vec()).collect();
    let known = know(&mut walker, root, &wanted);
    let mut inventory = Inventory::new(known, Packages::new(root), walker.until, BTreeMap::new());
    for path in &wanted {
        inventory.judge(path, &walker);
    }
    (inventory, walker)
}

#[test]
fn a_diverted_file_is_held_against_the_right_sum() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    lay(root, "usr/bin/sh", "x\n");
    lay(root, "usr/bin/sh.distrib", "y\n");
    lay(root, "var/lib/dpkg/status", "Package: bash\n\nPackage: dash\n");
    lay(root, "var/lib/dpkg/diversions", "/bin/sh\n/bin/sh.distrib\ndash\n");
    lay(root, "var/lib/dpkg/info/dash.list", "/bin/sh\n");
    lay(root, "var/lib/dpkg/info/dash.md5sums", "401b30e3b8b5d629635a5c613cdb7919  bin/sh\n");
    lay(root, "var/lib/dpkg/info/bash.list", "/bin/sh\n");
    lay(root, "var/lib/dpkg/info/bash.md5sums", "009520053b00386d1173f3988c55d192  bin/sh\n");
    let (inventory, _) = inventory(root, &["/usr/bin/sh", "/usr/bin/sh.distrib", "/usr/bin/none"]);
    let of = |path: &str| &inventory.files[path.as_bytes()];
    assert_eq!(
        (of("/usr/bin/sh").content, of("/usr/bin/sh").package.as_ref().unwrap().to_string()),
        (Content::Matches, "dash".to_owned())
    );
    assert_eq!(
        (of("/usr/bin/sh.distrib").content, of("/usr/bin/sh.distrib").package.as_ref().unwrap().to_string()),
        (Content::Matches, "bash".to_owned())
    );
    assert!(!inventory.files.contains_key(&b"/usr/bin/none"[..]));
}

#[test]
fn apks_files_are_compared_too() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    lay(root, "bin/a", "x\n");
    lay(root, "bin/b", "x\n");
    // SHA-1 of "x\n".
    let text =
        "P:p\nV:1\nF:bin\nR:a\nZ:Q1b8+d+9R57YJpf+5xm5+MYQoR/yo=\nR:b\nZ:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n";
    lay(root, "lib/apk/db/installed", text);
    let (inventory, _) = inventory(root, &["/bin/a", "/bin/b"]);
    assert!(inventory.is_understood());
    assert_eq!(inventory.files[&b"/bin/b"[..]].content, Content::Changed);
    assert_eq!(inventory.files[&b"/bin/a"[..]].content, Content::Matches);
}

#[test]
fn broken_databases_are_told_and_do_not_end_anything() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    lay(root, "var/lib/dpkg/status", "\0\u{fffd}\nPackage\n: x\n");
    lay(root, "etc/x", "x\n");
    std::fs::create_dir_all(root.join("var/lib/dpkg/info/dir.list")).unwrap();
    lay(root, "var/lib/dpkg/info/x.md5sums", "nonsense\n");
    nix::unistd::mkfifo(&root.join("var/lib/dpkg/info/pipe.list"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    std::os::unix::fs::symlink("/etc/x", root.join("var/lib/dpkg/info/link.list")).unwrap();
    let (inventory, _) = inventory(root, &["/etc/x"]);
    assert_eq!(inventory.files[&b"/etc/x"[..]].content, Content::Unknown);
    assert_eq!(inventory.known.misses.len(), 3, "{:?}", inventory.known.misses);
    assert!(inventory.known.packages.is_empty());
}
