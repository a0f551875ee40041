use std::path::Path;

use super::super::testing::{self, Taken};
use crate::bundle::Outcome;
use crate::plan::Step;

fn take(root: &Path, file_bytes: u64, bytes: u64) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    job.limits.file_bytes = file_bytes;
    job.limits.bytes = bytes;
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Log])
}

fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

#[test]
fn logs_logins_and_histories_are_taken_whole() {
    let files = [
        ("var/log/auth.log", "auth"),
        ("var/log/wtmp", "\0\0"),
        ("var/log/journal/0123/system.journal", "LPKSHHRH"),
        ("var/log/nginx/access.log", "GET /"),
        ("run/utmp", "u"),
        ("root/.bash_history", "id"),
        ("home/w/.zsh_history", "curl"),
        ("home/w/notes.txt", "no log"),
        ("etc/passwd", "w:x:1000:1000::/home/w:/bin/sh\n"),
    ];
    let folder = host(&files);
    std::os::unix::fs::symlink("/etc/shadow", folder.path().join("home/w/.bash_history")).unwrap();
    let taken = take(folder.path(), 1 << 20, 1 << 20);
    for (path, content) in files.iter().take(7) {
        assert_eq!(taken.members[&format!("log/{path}")], content.as_bytes(), "{path}");
    }
    assert_eq!(taken.members.len(), 7);
    assert_eq!(taken.outcome("/home/w/.bash_history"), (Outcome::Refused, "a symbolic link to /etc/shadow"));
}

#[test]
fn of_a_large_log_the_end_is_taken_and_that_is_said() {
    let folder = host(&[("var/log/syslog", "the old lines, the new lines")]);
    let taken = take(folder.path(), 9, 1 << 20);
    assert_eq!(taken.members["log/var/log/syslog"], b"new lines");
    assert_eq!(taken.outcome("/var/log/syslog"), (Outcome::Partial, "the last 9 of 28 bytes"));
}

#[test]
fn the_newest_log_comes_first_and_the_rest_is_over_the_budget() {
    let folder = host(&[("var/log/a", "older"), ("var/log/b", "newer")]);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = std::fs::File::options().write(true).open(folder.path().join("var/log/a")).unwrap();
    file.set_modified(old).unwrap();
    let taken = take(folder.path(), 1 << 20, 5);
    assert_eq!(taken.members["log/var/log/b"], b"newer");
    assert_eq!(taken.outcome("/var/log/a").0, Outcome::OverBudget);
}
