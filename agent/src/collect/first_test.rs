use std::process::Command;

use super::super::testing::{self, Child};
use super::*;

/// A /proc of its own, which lists this process only.
fn proc(pid: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(format!("/proc/{pid}"), folder.path().join(pid.to_string())).unwrap();
    folder
}

fn job(id: ProcessId, proc: &tempfile::TempDir) -> Job {
    let mut job = Job { targets: vec![id], ..testing::job() };
    job.places.proc = proc.path().to_owned();
    job
}

#[test]
fn a_childs_maps_and_executable_are_taken_before_anything_else() {
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let id = child.id();
    let folder = tempfile::tempdir().unwrap();
    let proc = proc(id.pid);
    let job = job(id, &proc);
    let mut bag = Bag::create(File::open(folder.path()).unwrap().into(), job.id).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let held = first(&job, &mut bag, deadline, &mut |_| {}).unwrap();
    assert_eq!((held.len(), held[0].id), (1, id));
    let size = std::fs::metadata(std::fs::read_link(format!("/proc/{}/exe", id.pid)).unwrap()).unwrap().len();
    assert_eq!(held[0].size, size);
    drop(child);
    let bytes = std::io::Read::bytes(&held[0].file).take(4).collect::<Result<Vec<u8>, _>>().unwrap();
    assert_eq!(bytes, b"\x7fELF", "it is readable after the end");
    bag.finish().unwrap();
    let (members, attempts) = testing::contents(folder.path(), &job);
    assert!(!members[&format!("first/{}/maps", id.short())].is_empty());
    assert!(members[&format!("first/{}/cmdline", id.short())].starts_with(b"sleep\0"));
    let tree: serde_json::Value = serde_json::from_slice(&members["first/tree.json"]).unwrap();
    assert!(tree.as_array().unwrap().iter().any(|row| row["pid"] == id.pid && row["start"] == id.start));
    let exe = attempts.iter().find(|attempt| attempt.subject.ends_with("exe held")).unwrap();
    assert_eq!(exe.outcome, Outcome::Ok);
}

#[test]
fn a_target_that_is_gone_is_said_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let gone = ProcessId { start: 1, ..testing::own() };
    let proc = proc(gone.pid);
    let job = job(gone, &proc);
    let mut bag = Bag::create(File::open(folder.path()).unwrap().into(), job.id).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    assert!(first(&job, &mut bag, deadline, &mut |_| {}).unwrap().is_empty());
    bag.finish().unwrap();
    let (members, attempts) = testing::contents(folder.path(), &job);
    assert_eq!(members.keys().collect::<Vec<_>>(), ["first/tree.json"]);
    let exe = attempts.iter().find(|attempt| attempt.subject.ends_with("exe held")).unwrap();
    assert_eq!(exe.outcome, Outcome::IdentityChanged);
}
