use std::path::Path;

use super::super::testing::{self, Taken, host};
use crate::bundle::Outcome;
use crate::plan::Step;

fn take(root: &Path, file_bytes: u64, bytes: u64) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    job.limits.file_bytes = file_bytes;
    job.limits.bytes = bytes;
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Log])
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
    let tables = ["log/removed.jsonl", "logins.jsonl", "log/journal.jsonl"];
    let raw = taken.members.keys().filter(|name| !tables.contains(&name.as_str()));
    assert_eq!(raw.count(), 7);
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
fn what_no_room_is_left_for_is_one_outcome() {
    let files: Vec<(String, &str)> = (0..20).map(|n| (format!("var/log/{n:02}"), "12345")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let folder = host(&files);
    let taken = take(folder.path(), 1 << 20, 12);
    let over: Vec<&str> = taken
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::OverBudget)
        .map(|attempt| attempt.subject.as_str())
        .collect();
    assert_eq!(over.len(), 1, "{over:?}");
    assert!(over[0].starts_with("17 older logs, the newest of them /var/log/"), "{over:?}");
}

#[test]
fn what_containers_print_is_taken_and_nothing_else_of_theirs() {
    let files = [
        ("var/lib/docker/containers/ab/ab-json.log", "{}"),
        ("var/lib/docker/containers/ab/ab-json.log.1", "{}"),
        ("var/lib/docker/containers/ab/local-logs/container.log", "x"),
        ("var/lib/containers/storage/overlay-containers/cd/userdata/ctr.log", "y"),
        ("var/lib/docker/containers/ab/config.v2.json", "no log"),
        ("var/log/pods/ns_pod_1/c/0.log", "z"),
    ];
    let folder = host(&files);
    let taken = take(folder.path(), 1 << 20, 1 << 20);
    for (path, content) in files.iter().filter(|(_, content)| *content != "no log") {
        assert_eq!(taken.members[&format!("log/{path}")], content.as_bytes(), "{path}");
        assert!(super::is_log(format!("/{path}").as_bytes()), "{path}");
    }
    assert!(!taken.members.contains_key("log/var/lib/docker/containers/ab/config.v2.json"));
    assert!(!super::is_log(b"/var/lib/docker/containers/ab/config.v2.json"));
}

fn table(taken: &Taken, name: &str) -> Vec<serde_json::Value> {
    let text = String::from_utf8(taken.members[name].clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// 40 entries, from 1,795,442,000 seconds after 1970 on, one a second.
const JOURNAL: &[u8] = include_bytes!("../log/journal/fixtures/compact.journal.zst");

fn with_journal(bytes: &[u8]) -> tempfile::TempDir {
    let folder = host(&[]);
    let journals = folder.path().join("var/log/journal/0123");
    std::fs::create_dir_all(&journals).unwrap();
    std::fs::write(journals.join("system.journal"), bytes).unwrap();
    folder
}

fn take_at(root: &Path, accepted: i64) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    job.accepted = jiff::Timestamp::from_second(accepted).unwrap();
    job.limits.history_hours = 1;
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Log])
}

#[test]
fn the_window_of_the_journal_is_told_line_by_line() {
    let folder = with_journal(&zstd::decode_all(JOURNAL).unwrap());
    let taken = take_at(folder.path(), 1_795_442_000 + 3_600 + 30);
    let rows = table(&taken, "log/journal.jsonl");
    assert_eq!(rows.len(), 10, "the last ten seconds of forty are in the window");
    assert_eq!(rows[0]["seqnum"], 31);
    assert_eq!(rows[1]["fields"]["MESSAGE"], "line 31 of sshd");
    assert_eq!(rows[1]["time"], jiff::Timestamp::from_second(1_795_442_031).unwrap().to_string());
    assert_eq!(rows[1]["file"], "/var/log/journal/0123/system.journal");
    assert_eq!(taken.outcome("window of the journal"), (Outcome::Ok, "10 entries of 1 files"));
    // All of it, with a field of bytes and one that is there twice.
    let rows = table(&take_at(folder.path(), 1_795_442_000), "log/journal.jsonl");
    assert_eq!((rows.len(), &rows[7]["fields"]["BINARY"]), (40, &serde_json::json!("a\\x0Ab\\x00\\xFF")));
    assert_eq!(rows[8]["fields"]["TWICE"], serde_json::json!(["one", "two"]));
    assert!(table(&take_at(folder.path(), 1_795_442_000), "log/removed.jsonl").is_empty());
}

#[test]
fn entries_that_somebody_took_out_of_the_journal_are_missed() {
    let mut bytes = zstd::decode_all(JOURNAL).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let list = usize::try_from(number(176)).unwrap();
    // The third and the fourth entry in the first list are overwritten by the second one.
    let offset = |index: usize| list + 24 + 4 * index;
    let second: [u8; 4] = bytes[offset(1)..offset(2)].try_into().unwrap();
    bytes[offset(2)..offset(3)].copy_from_slice(&second);
    bytes[offset(3)..offset(4)].copy_from_slice(&second);
    let taken = take_at(with_journal(&bytes).path(), 1_795_442_000);
    let signs = table(&taken, "log/removed.jsonl");
    assert_eq!(signs.len(), 1, "{signs:?}");
    let what = signs[0]["what"].as_str().unwrap();
    assert!(
        what.starts_with("2 entries of the journal are in no file: numbers 3 to 4 of sequence "),
        "{what}"
    );
}

#[test]
fn a_torn_journal_is_partial_and_its_file_is_there() {
    let whole = zstd::decode_all(JOURNAL).unwrap();
    let folder = with_journal(&whole[..250_000]);
    let taken = take_at(folder.path(), 1_795_442_000);
    let (outcome, detail) = taken.outcome("window of the journal");
    assert_eq!(outcome, Outcome::Partial);
    assert!(detail.contains("/var/log/journal/0123/system.journal: "), "{detail}");
    assert_eq!(taken.members["log/var/log/journal/0123/system.journal"].len(), 250_000);
}

/// A record of wtmp.
fn login(kind: i16, line: &str, user: &str, host: &str, time: u32) -> Vec<u8> {
    let mut bytes = vec![0; 384];
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    for (at, text) in [(8, line), (44, user), (76, host)] {
        bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    bytes[340..344].copy_from_slice(&time.to_le_bytes());
    bytes
}

#[test]
fn logins_are_one_table_and_wiped_ones_are_signs() {
    let folder = host(&[("etc/passwd", "root:x:0:0::/root:/bin/sh\nw:x:1000:1000::/home/w:/bin/sh\n")]);
    let log = folder.path().join("var/log");
    std::fs::create_dir_all(&log).unwrap();
    let wtmp = [
        login(7, "pts/0", "w", "203.0.113.9", 100),
        vec![0; 384],
        login(8, "pts/0", "", "", 300),
        vec![1; 7],
    ];
    std::fs::write(log.join("wtmp"), wtmp.concat()).unwrap();
    std::fs::write(log.join("btmp"), login(6, "ssh:notty", "root", "198.51.100.7", 90)).unwrap();
    // The record of uid 1,000 lies behind a hole; the file ends with one.
    let last = std::fs::File::create(log.join("lastlog")).unwrap();
    let mut record = [0; 292];
    record[..4].copy_from_slice(&100_u32.to_le_bytes());
    record[4..9].copy_from_slice(b"pts/0");
    std::os::unix::fs::FileExt::write_all_at(&last, &record, 1000 * 292).unwrap();
    last.set_len(60_000 * 292).unwrap();
    let taken = take(folder.path(), 1 << 20, 1 << 30);
    let told: Vec<(String, String, String)> = table(&taken, "logins.jsonl")
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            (text("what"), text("user"), text("ended_by"))
        })
        .collect();
    let row = |what: &str, user: &str, end: &str| (what.to_owned(), user.to_owned(), end.to_owned());
    assert_eq!(
        told,
        [row("failed login", "root", ""), row("login", "w", "logout"), row("last login", "w", "")]
    );
    let signs: Vec<String> = table(&taken, "log/removed.jsonl")
        .iter()
        .map(|sign| sign["what"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(signs.len(), 2, "{signs:?}");
    assert!(signs.iter().any(|sign| sign == "record 1 is wiped: nothing but zeros"));
    assert!(signs.iter().any(|sign| sign.starts_with("its length is no multiple")));
}

#[test]
fn what_a_peer_of_the_target_asked_is_a_table() {
    let folder = host(&[
        (
            "var/log/nginx/access.log",
            "203.0.113.9 - - \"POST /\"\n10.0.0.1 - - \"GET /\"\n203.0.113.90 - - \"GET /\"\n",
        ),
        ("var/log/nginx/access.log.2.gz", "203.0.113.9"),
        ("var/log/auth.log", "203.0.113.9"),
    ]);
    let mut job = testing::job();
    job.places.root = folder.path().to_owned();
    job.trigger.target.remote_ip = Some("203.0.113.9".parse().unwrap());
    let taken = testing::take(&job, &testing::tree(&[]), &[], &[Step::Log]);
    let rows = table(&taken, "log/peers.jsonl");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["text"], "203.0.113.9 - - \"POST /\"");
    assert_eq!(rows[0]["file"], "/var/log/nginx/access.log");
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
