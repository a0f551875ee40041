use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::bundle::{Attempt, Bag};
use crate::collect::testing;
use crate::collect::walk::Walker;

/// Takes `/file` of `folder`, at most `bytes` of it; what is in the bag, and the attempts.
fn take(folder: &Path, bytes: u64, lack: Option<Miss>) -> (Vec<(String, Vec<u8>)>, Vec<Attempt>) {
    let walker = Walker::new(folder, Path::new("/proc"), 1, Instant::now());
    let entry = walker.find(b"/file").unwrap();
    let out = tempfile::tempdir().unwrap();
    let job = testing::job();
    let mut bag = Bag::create(File::open(out.path()).unwrap().into(), job.id).unwrap();
    let mut progress = |_| {};
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut attempts = Attempts::new(&mut bag, &mut progress, &job.limits, deadline);
    let bound = Bound { bytes, outcome: Outcome::Partial };
    let called = |suffix: &str| Name::file(&["files"], format!("/file{suffix}").as_bytes());
    let known = Known { note: None, lack };
    take_as(&mut attempts, "file", &called, &entry.fd, &entry.attributes, bound, known).unwrap();
    bag.finish().unwrap();
    let (members, attempts) = testing::contents(out.path(), &job);
    (members.into_iter().collect(), attempts)
}

fn outcome(attempts: &[Attempt]) -> (Outcome, &str) {
    (attempts[0].outcome, attempts[0].detail.as_deref().unwrap_or_default())
}

#[test]
fn a_hole_of_two_tebibytes_is_not_read_and_its_data_are_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("file")).unwrap();
    file.set_len(2 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 1 << 40).unwrap();
    let (members, attempts) = take(folder.path(), 1 << 20, None);
    assert_eq!(outcome(&attempts), (Outcome::Ok, ""));
    assert_eq!(members[0].0, "files/file.data");
    assert!(members[0].1.len() <= 65_536 && members[0].1.starts_with(b"data"));
    let said: serde_json::Value = serde_json::from_slice(&members[1].1).unwrap();
    assert_eq!((&said["size"], &said["data"][0]["offset"]), (&(2_u64 << 40).into(), &(1_u64 << 40).into()));
}

#[test]
fn the_bound_and_what_is_known_already_are_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"0123456789").unwrap();
    let (members, attempts) = take(folder.path(), 4, None);
    assert_eq!(outcome(&attempts), (Outcome::Partial, "the first 4 of 10 bytes"));
    assert_eq!(members, [("files/file".to_owned(), b"0123".to_vec())]);
    let (members, attempts) = take(folder.path(), 99, Some(replaced()));
    assert_eq!((outcome(&attempts).0, members[0].1.len()), (Outcome::IdentityChanged, 10));
    let (members, attempts) = take(folder.path(), 0, None);
    assert_eq!((outcome(&attempts), members.len()), ((Outcome::OverBudget, "10 bytes"), 0));
}
