use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::bundle::{Bag, Name, Outcome};
use crate::collect::attempts::Attempts;
use crate::collect::testing;

fn path(folder: &std::path::Path, name: &str) -> OwnedFd {
    open(&folder.join(name), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn only_regular_files_are_opened_and_nobody_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    mkfifo(&folder.path().join("fifo"), Mode::S_IRWXU).unwrap();
    std::fs::write(folder.path().join("file"), b"x").unwrap();
    std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
    for name in ["fifo", "link", "."] {
        let miss = regular(&path(folder.path(), name), &Remote::default()).unwrap_err();
        assert_eq!(miss.outcome, Outcome::Refused, "{name}");
    }
    let file = path(folder.path(), "file");
    let attributes = regular(&file, &Remote::default()).unwrap();
    let (major, minor) = attributes.device;
    let mountinfo = format!("1 0 {major}:{minor} / / rw - fuse.x x rw\n");
    let miss = regular(&file, &Remote::of(mountinfo.as_bytes())).unwrap_err();
    assert!(miss.detail.contains("never answer"), "{}", miss.detail);
}

#[test]
fn a_file_is_the_one_that_was_looked_at_whatever_its_name_is_by_now() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"the one").unwrap();
    let looked = path(folder.path(), "file");
    std::fs::remove_file(folder.path().join("file")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", folder.path().join("file")).unwrap();
    let (bytes, _) = read_bounded(reopen(&looked).unwrap(), 99).unwrap();
    assert_eq!(bytes, b"the one");
}

/// Takes a file whose size is changed by `change` between the look and the reading.
fn take(change: impl FnOnce(&mut File)) -> (Outcome, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::create(folder.path().join("file")).unwrap();
    file.write_all(&[b'a'; 1000]).unwrap();
    let looked = path(folder.path(), "file");
    let job = testing::job();
    let mut bag = Bag::create(File::open(folder.path()).unwrap().into(), job.id).unwrap();
    let mut progress = |_| {};
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut attempts = Attempts::new(&mut bag, &mut progress, &job.limits, deadline);
    let found = attempts.take("file", &Name::data(&["file"]), |room| {
        let found = whole(reopen(&looked)?, 1000, room)?;
        change(&mut file);
        Ok(found)
    });
    assert!(found.unwrap());
    bag.finish().unwrap();
    testing::read(folder.path(), &job)
}

#[test]
fn a_file_that_grows_is_taken_as_it_was_and_one_that_shrinks_is_padded_and_said_to_be() {
    let (outcome, bytes) = take(|file| file.write_all(&[b'b'; 1000]).unwrap());
    assert_eq!((outcome, bytes), (Outcome::Ok, vec![b'a'; 1000]));
    let (outcome, bytes) = take(|file| file.set_len(10).unwrap());
    assert_eq!((outcome, bytes.len(), &bytes[..11]), (Outcome::Partial, 1000, &b"aaaaaaaaaa\0"[..]));
}
