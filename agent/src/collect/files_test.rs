use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::collect::testing::{self, lay};
use crate::history::tree::{Bounds, Tree};
use crate::plan::Step;

fn take(root: &Path, artifacts: &[&str]) -> testing::Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    job.trigger.artifacts = artifacts.iter().map(|&name| name.to_owned()).collect();
    testing::take(&job, &Tree::new(Bounds::COLLECTOR), &[], &[Step::Files])
}

#[test]
fn chosen_files_are_taken_once_and_all_are_listed() {
    let host = tempfile::tempdir().unwrap();
    let root = host.path();
    lay(
        root,
        &[
            ("etc/passwd", "u:x:1000:1000::/home/u:/bin/sh\n"),
            ("etc/crontab", "* * * * * root /tmp/.x\n"),
            ("usr/lib/systemd/system/a.service", "[Service]\n"),
            ("home/u/.ssh/authorized_keys", "ssh-ed25519 A\n"),
            ("home/u/.ssh/id_ed25519", "secret\n"),
            ("home/u/.bash_history", "id\n"),
            ("var/log/dpkg.log", "x\n"),
            ("home/u/notes", "private\n"),
        ],
    );
    symlink("usr/lib", root.join("lib")).unwrap();
    std::fs::create_dir_all(root.join("etc/systemd/system/w.wants")).unwrap();
    symlink("/lib/systemd/system/a.service", root.join("etc/systemd/system/w.wants/a.service")).unwrap();
    let taken = take(root, &["triage"]);
    let names: Vec<&str> = taken.members.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "files.jsonl",
            "files/etc/crontab",
            "files/etc/passwd",
            "files/home/u/.ssh/authorized_keys",
            "files/usr/lib/systemd/system/a.service",
        ],
        "{:#?}",
        taken.attempts
    );
    let listing = std::str::from_utf8(&taken.members["files.jsonl"]).unwrap();
    let row = |path: &str| listing.lines().find(|line| line.contains(&format!("\"path\":\"{path}\"")));
    assert!(row("/etc/crontab").unwrap().contains("CronTables"));
    // A secret key is listed, and not taken.
    assert!(row("/home/u/.ssh/id_ed25519").unwrap().contains("SshUserFiles"));
    let link = row("/etc/systemd/system/w.wants/a.service").unwrap();
    assert!(link.contains(r#""kind":"link","target":"/usr/lib/systemd/system/a.service""#), "{link}");
    assert!(row("/home/u/notes").is_none());
}

#[test]
fn a_hosts_own_definitions_are_used_and_what_is_wrong_with_them_is_said() {
    let host = tempfile::tempdir().unwrap();
    let ours = "name: Mine\ndoc: x\nsources: [{type: FILE, attributes: {paths: ['/srv/app/*.conf']}}]\n---\nname: [\n";
    lay(
        host.path(),
        &[
            ("etc/afterimage/artifacts/mine.yaml", ours),
            ("etc/afterimage/artifacts/notes.txt", "not yaml"),
            ("usr/share/afterimage/artifacts/mine.yaml", "name: Mine\ndoc: x\nsources: []\n"),
            ("srv/app/a.conf", "a"),
            ("srv/app/b", "b"),
        ],
    );
    let taken = take(host.path(), &["Mine", "Nobody"]);
    assert!(taken.members.contains_key("files/srv/app/a.conf") && taken.members.len() == 2);
    assert_eq!(taken.outcome("artifact Nobody").0, Outcome::Refused);
    let (outcome, detail) = taken.outcome("/etc/afterimage/artifacts/mine.yaml");
    assert!(outcome == Outcome::Refused && detail.starts_with("line 5: "), "{detail}");
    let (_, detail) = taken.outcome("/usr/share/afterimage/artifacts/mine.yaml");
    assert!(detail.contains("Mine has no sources"), "{detail}");
}

#[test]
fn files_beyond_the_budget_and_odd_ones_have_their_outcome() {
    let host = tempfile::tempdir().unwrap();
    lay(host.path(), &[("etc/cron.d/a", "aaaaaaaaaa"), ("etc/cron.d/b", "bbbbbbbbbb")]);
    nix::unistd::mkfifo(&host.path().join("etc/cron.d/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut job = testing::job();
    job.places.root = host.path().to_owned();
    job.trigger.artifacts = vec!["CronTables".to_owned()];
    job.limits.bytes = 15;
    let taken = testing::take(&job, &Tree::new(Bounds::COLLECTOR), &[], &[Step::Files]);
    assert_eq!(taken.outcome("/etc/cron.d/a").0, Outcome::Ok);
    assert_eq!(taken.outcome("/etc/cron.d/b").0, Outcome::Partial);
    assert_eq!(taken.outcome("/etc/cron.d/fifo").0, Outcome::Refused);
}
