use std::os::unix::fs::{PermissionsExt, symlink};

use crate::bundle::Outcome;
use crate::collect::testing::{self, Taken};
use crate::plan::Step;

fn take(root: &std::path::Path, entries: u64) -> Taken {
    let mut job = testing::job();
    job.accepted = jiff::Timestamp::now();
    job.places.root = root.to_owned();
    job.limits.body_entries = entries;
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Hidden])
}

#[test]
fn every_file_has_its_line_and_what_is_new_is_ranked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["tmp", "etc/cron.d", "srv/a", "data/deep"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::write(root.join("etc/cron.d/x"), b"job").unwrap();
    std::fs::write(root.join("data/deep/plain"), b"1234").unwrap();
    std::fs::write(root.join("tmp/.p|q"), b"#!/bin/sh\n").unwrap();
    std::fs::set_permissions(root.join("tmp/.p|q"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../etc", root.join("srv/a/link")).unwrap();
    let taken = take(root, 1000);
    let body = String::from_utf8(taken.members["bodyfile/bodyfile.txt"].clone()).unwrap();
    let mut names: Vec<&str> = body.lines().map(|line| line.split('|').nth(1).unwrap()).collect();
    names.sort_unstable();
    let expected = [
        "/",
        "/data",
        "/data/deep",
        "/data/deep/plain",
        "/etc",
        "/etc/cron.d",
        "/etc/cron.d/x",
        "/srv",
        "/srv/a",
        "/srv/a/link -> ../etc",
        "/tmp",
        "/tmp/.p%7Cq",
    ];
    assert_eq!(names, expected);
    assert_eq!(taken.outcome("body file"), (Outcome::Ok, "12 lines"));
    let changes = String::from_utf8(taken.members["changes.jsonl"].clone()).unwrap();
    let first: serde_json::Value = serde_json::from_str(changes.lines().next().unwrap()).unwrap();
    assert_eq!((&first["path"], &first["kind"]), (&"/tmp/.p|q".into(), &"file".into()));
    assert_eq!(taken.outcome("recent changes").0, Outcome::Ok);
}

#[test]
fn a_bound_that_is_reached_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for name in 0..20 {
        std::fs::write(folder.path().join(name.to_string()), b"").unwrap();
    }
    let taken = take(folder.path(), 7);
    let (outcome, detail) = taken.outcome("body file");
    assert!(outcome == Outcome::Partial && detail.contains("stopped here"), "{detail}");
    assert_eq!(taken.members["bodyfile/bodyfile.txt"].split(|&byte| byte == b'\n').count(), 1 + 7 + 1);
}

#[test]
fn without_a_root_there_is_no_body_file() {
    let taken = testing::take(&testing::job(), &testing::tree(&[]), &[], &[Step::Hidden]);
    assert_eq!(taken.outcome("body file").0, Outcome::Gone);
}
