use std::path::Path;

use serde_json::Value;

use super::super::testing::{self, Taken, host};
use crate::bundle::Outcome;
use crate::plan::Step;

fn take(root: &Path) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Persistence])
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAwZocVjj3hu0JXKemVnVOAx9nvNX8+XOI/Ve0+HIiRT";

#[test]
fn accounts_rules_and_keys_are_one_table_without_a_hash() {
    let key = format!("{KEY} who\n");
    let folder = host(&[
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nw:x:1000:1000::/home/w:/bin/sh\nx:x:0:0::/:/bin/sh\n"),
        ("etc/shadow", "root:$6$secret$hash:20000::::::\nw:!:20001::::::\nx:$6$secret$hash:20400::::::\n"),
        ("etc/group", "root:x:0:\nsudo:x:27:w\n"),
        ("etc/sudoers", "# none\nDefaults env_reset\n%sudo ALL=(ALL:ALL) \\\n  ALL\n"),
        ("etc/sudoers.d/x", "w ALL=(ALL) NOPASSWD: ALL\n"),
        ("home/w/.ssh/authorized_keys", &key),
        ("root/.ssh/authorized_keys2", &key),
    ]);
    let taken = take(folder.path());
    let text = String::from_utf8(taken.members["accounts.jsonl"].clone()).unwrap();
    assert!(!text.contains("secret"));
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| rows.iter().filter(|row| row["kind"] == kind).collect::<Vec<_>>();
    let names: Vec<&str> = of("account").iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["root", "w", "x"]);
    assert_eq!(of("account")[0]["password_changed"], "2024-10-04");
    assert_eq!(of("account")[2]["reasons"][0], "has the rights of root under another name");
    let rules: Vec<&str> = of("rule").iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert_eq!(rules.len(), 3, "{rules:?}");
    assert!(rules.contains(&"w ALL=(ALL) NOPASSWD: ALL"));
    let keys: Vec<&str> = of("key").iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(keys, ["/home/w/.ssh/authorized_keys", "/root/.ssh/authorized_keys2"]);
    assert_eq!(of("key")[0]["fingerprint"], "SHA256:Gz/b7AVKr2nTFxFiFQi6iC+huDFnkS5m5kz2A1z9fSo");
    assert_eq!(taken.outcome("table of accounts"), (Outcome::Ok, "3 accounts, 2 keys"));
}

#[test]
fn what_stands_in_the_way_is_told() {
    let folder = host(&[("etc/passwd", "root:x:0:0::/root:/bin/sh\n")]);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("etc/shadow")).unwrap();
    let taken = take(folder.path());
    let (outcome, detail) = taken.outcome("table of accounts");
    assert_eq!(outcome, Outcome::Partial);
    assert!(detail.contains("/etc/shadow: a symbolic link"), "{detail}");
    let row: Value = serde_json::from_slice(&taken.members["accounts.jsonl"]).unwrap();
    assert_eq!(row["password"], "unknown");
}
