use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::unistd::mkfifo;

use super::*;

fn walker(root: &Path, entries: usize) -> Walker {
    Walker::new(root, Path::new("/proc"), entries, Instant::now() + Duration::from_mins(1))
}

fn paths(walker: &mut Walker, depth: usize) -> Vec<String> {
    let from = walker.find(b"/").unwrap();
    let mut found = Vec::new();
    walker.walk(&from, depth, &mut |entry| {
        found.push(String::from_utf8_lossy(&entry.path).into_owned());
        true
    });
    found.sort();
    found
}

#[test]
fn links_are_seen_and_not_followed_and_a_fifo_holds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/file"), b"x").unwrap();
    symlink("/", root.join("a/b/up")).unwrap();
    symlink("../a", root.join("a/loop")).unwrap();
    mkfifo(&root.join("a/fifo"), Mode::S_IRWXU).unwrap();
    let mut walker = walker(root, 1000);
    assert_eq!(paths(&mut walker, 9), ["/a", "/a/b", "/a/b/up", "/a/fifo", "/a/file", "/a/loop"]);
    assert!(walker.lacks.is_empty());
}

#[test]
fn depth_and_entries_are_bounded_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("1/2/3/4")).unwrap();
    let mut deep = walker(folder.path(), 1000);
    assert_eq!(paths(&mut deep, 1), ["/1", "/1/2"]);
    assert_eq!(deep.lacks, ["/1/2: too deep"]);
    let mut few = walker(folder.path(), 2);
    assert_eq!(paths(&mut few, 9).len(), 2);
    assert_eq!(few.miss().unwrap().outcome, Outcome::Partial);
}

#[test]
fn a_path_is_found_only_without_links_and_climbing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    std::fs::write(folder.path().join("real/f"), b"x").unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    symlink("f", folder.path().join("real/l")).unwrap();
    let walker = walker(folder.path(), 10);
    assert!(walker.find(b"/real//./f").unwrap().attributes.is_file());
    assert_eq!(walker.find(b"/real/f").unwrap().name(), b"f");
    for (path, outcome) in [
        (&b"/link/f"[..], Outcome::Gone),
        (b"/real/l", Outcome::Refused),
        (b"/real/../real/f", Outcome::Refused),
        (b"/none", Outcome::Gone),
        (b"/real/f/x", Outcome::Gone),
    ] {
        assert_eq!(walker.find(path).unwrap_err().outcome, outcome, "{}", escape(path));
    }
}

#[test]
fn the_kernels_own_file_systems_are_not_entered() {
    let walker = walker(Path::new("/"), 10);
    assert_eq!(walker.find(b"/proc/self").unwrap_err().outcome, Outcome::Refused);
}

#[test]
fn a_walk_whose_time_is_over_says_once_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("1/2/3")).unwrap();
    let mut walker = walker(folder.path(), 1000);
    let from = walker.find(b"/").unwrap();
    walker.entries = 2;
    walker.walk(&from, 9, &mut |_| true);
    assert_eq!(walker.lacks, ["/1/2: stopped here: the bound of entries or time was reached"]);
    walker.again();
    walker.entries = 1000;
    walker.until = Instant::now();
    walker.walk(&from, 9, &mut |_| panic!("there was no time to look"));
    assert_eq!(walker.lacks.len(), 2);
}
