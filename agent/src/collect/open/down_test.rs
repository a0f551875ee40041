use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, mkdirat};

use super::*;
use crate::collect::attempts::read_bounded;
use crate::collect::file::{regular, reopen};

fn walker(root: &Path) -> Walker {
    Walker::new(root, Path::new("/proc"), 200_000, Instant::now() + Duration::from_mins(1))
}

/// Directories one in the other, with a file in each.
fn nest(walker: &Walker, levels: usize, name: &str) -> Vec<u8> {
    let mut at = walker.find(b"/").unwrap();
    for _ in 0..levels {
        mkdirat(&at.fd, name, Mode::S_IRWXU).unwrap();
        at = walker.child(&at, name.as_bytes()).unwrap();
        let flags = nix::fcntl::OFlag::O_CREAT | nix::fcntl::OFlag::O_WRONLY;
        nix::fcntl::openat(&at.fd, "file", flags, Mode::S_IRWXU).unwrap();
    }
    at.path
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_gone_along_and_what_stands_there_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut walker = walker(folder.path());
    let deepest = nest(&walker, 90, &"d".repeat(100));
    assert!(deepest.len() > 2 * 4096 && OPEN_MAX < 90);
    let from = walker.find(b"/").unwrap();
    let mut found = Vec::new();
    walker.walk(&from, ANY_DEPTH, &mut |entry| {
        found.push(entry.path.clone());
        true
    });
    assert_eq!((found.len(), walker.miss()), (180, None));
    let path = [&deepest[..], b"/file"].concat();
    assert!(found.contains(&path));
    let entry = walker.find(&path).unwrap();
    regular(&entry.fd, &walker.remote).unwrap();
    assert_eq!(read_bounded(reopen(&entry.fd).unwrap(), 9).unwrap().0, b"");
}

#[test]
fn a_path_of_no_sensible_length_is_left_out_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut walker = walker(folder.path());
    let limit = (16 << 10) / 201;
    nest(&walker, limit, &"d".repeat(200));
    let at = walker.find(&format!("/{}", "d".repeat(200)).repeat(limit).into_bytes()).unwrap();
    mkdirat(&at.fd, "x".repeat(200).as_str(), Mode::S_IRWXU).unwrap();
    let from = walker.find(b"/").unwrap();
    let mut count = 0;
    walker.walk(&from, ANY_DEPTH, &mut |_| {
        count += 1;
        true
    });
    assert_eq!((count, walker.lacks.len()), (2 * limit, 1));
    assert!(walker.lacks[0].ends_with("a path of more than 16384 bytes"), "{}", walker.lacks[0].len());
    assert_eq!(walker.find(&b"/d".repeat(9_000)).unwrap_err().outcome, Outcome::Gone);
}

#[test]
fn no_directory_is_too_large_to_be_gone_through() {
    let folder = tempfile::tempdir().unwrap();
    for name in 0..2_000 {
        std::fs::write(folder.path().join(name.to_string()), b"").unwrap();
    }
    let mut walker = walker(folder.path());
    let from = walker.find(b"/").unwrap();
    let mut count = 0;
    walker.walk(&from, 0, &mut |_| {
        count += 1;
        true
    });
    assert_eq!((count, walker.miss()), (2_000, None));
    walker.again();
    walker.entries = 1_500;
    walker.walk(&from, 0, &mut |_| true);
    assert_eq!(walker.lacks, [": stopped here: the bound of entries or time was reached"]);
}

#[test]
fn who_fills_a_directory_keeps_us_from_no_other_and_its_rest_is_gone_through_later() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("many")).unwrap();
    std::fs::write(folder.path().join("many/first"), b"").unwrap();
    for name in 0..TURN + 10 {
        std::fs::hard_link(folder.path().join("many/first"), folder.path().join(format!("many/{name}")))
            .unwrap();
    }
    std::fs::create_dir_all(folder.path().join("many/z/in")).unwrap();
    let mut walker = walker(folder.path());
    let from = walker.find(b"/").unwrap();
    let (mut first, mut all) = (0, 0);
    walker.walk_at_first(&from, ANY_DEPTH, &|_, _| true, &mut |_| {
        first += 1;
        true
    });
    let later = walker.take_later();
    // The directory itself counts; its last entries, and what is in them, come later.
    assert!((TURN + 1..TURN + 4).contains(&first) && later.len() == 1, "{first}, {}", later.len());
    all += first;
    for later in later {
        walker.walk_later(later, &|_, _| true, &mut |_| {
            all += 1;
            true
        });
    }
    assert_eq!((all, walker.miss()), (1 + 1 + TURN + 10 + 2, None));
    walker.again();
    let mut count = 0;
    walker.walk(&from, ANY_DEPTH, &mut |_| {
        count += 1;
        true
    });
    assert_eq!((count, walker.take_later().len()), (all, 0));
}

#[test]
fn a_directory_that_is_moved_while_it_is_entered_leads_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("in/a")).unwrap();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out/secret"), b"").unwrap();
    let mut walker = walker(folder.path());
    let from = walker.find(b"/in").unwrap();
    let mut found = Vec::new();
    let root = folder.path().to_owned();
    walker.walk(&from, ANY_DEPTH, &mut |entry| {
        found.push(entry.path.clone());
        if entry.path == b"/in/a" {
            std::fs::rename(root.join("in/a"), root.join("b")).unwrap();
            std::os::unix::fs::symlink("../out", root.join("in/a")).unwrap();
        }
        true
    });
    assert_eq!(found, [b"/in/a"]);
}
