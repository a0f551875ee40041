use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::bundle::Outcome;
use crate::collect::testing::{self, Taken};
use crate::plan::Step;

fn lay(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn take(root: &Path, steps: &[Step]) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    testing::take(&job, &testing::tree(&[]), &[], steps)
}

fn rows(taken: &Taken) -> Vec<Value> {
    let text = std::str::from_utf8(&taken.members["persistence.jsonl"]).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn row<'a>(rows: &'a [Value], path: &str) -> &'a Value {
    let found: Vec<&Value> = rows.iter().filter(|row| row["path"] == path).collect();
    assert_eq!(found.len(), 1, "{path}: {found:#?} among {rows:#?}");
    found[0]
}

fn reasons(row: &Value) -> Vec<&str> {
    row["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect()
}

/// MD5 of "x\n" and of "y\n".
const X: &str = "401b30e3b8b5d629635a5c613cdb7919";
const Y: &str = "009520053b00386d1173f3988c55d192";

/// A package with a unit, its program, a setting and a script of cron.
fn packaged(root: &Path) {
    let status = format!(
        "Package: tool\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nConffiles:\n /etc/cron.daily/tool {X}\n /etc/cron.d/tool 00000000000000000000000000000000\n\n"
    );
    let sums = format!("{X}  usr/sbin/tool\n{Y}  usr/sbin/other\n");
    lay(
        root,
        &[
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n"),
            ("var/lib/dpkg/status", &status),
            (
                "var/lib/dpkg/info/tool.list",
                "/.\n/usr/sbin/tool\n/usr/sbin/other\n/etc/cron.d/tool\n/etc/cron.daily/tool\n",
            ),
            ("var/lib/dpkg/info/tool.md5sums", &sums),
            ("usr/sbin/tool", "x\n"),
            ("usr/sbin/other", "x\n"),
            ("etc/cron.d/tool", "* * * * * root /usr/sbin/tool\n"),
            (
                "etc/cron.d/mine",
                "* * * * * root tool -x\n* * * * * u /usr/sbin/other\n* * * * * root /opt/none\n",
            ),
            ("etc/cron.d/loose", "@daily root /usr/sbin/tool\n"),
        ],
    );
    std::fs::set_permissions(root.join("etc/cron.d/loose"), std::fs::Permissions::from_mode(0o666)).unwrap();
}

/// Files are root's: the test is, as `cargo xtask test` is.
#[test]
fn entries_are_held_against_their_packages() {
    let host = tempfile::tempdir().unwrap();
    packaged(host.path());
    let taken = take(host.path(), &[Step::Persistence]);
    let rows = rows(&taken);
    let changed = row(&rows, "/etc/cron.d/tool");
    assert_eq!(reasons(changed), ["changed since its package brought it"]);
    assert_eq!(
        (&changed["file"]["package"], &changed["file"]["content"]),
        (&"tool".into(), &"changed".into())
    );
    assert_eq!(changed["target"]["file"]["content"], "matches");
    let mine: Vec<&Value> = rows.iter().filter(|row| row["path"] == "/etc/cron.d/mine").collect();
    assert_eq!(mine.len(), 3);
    assert!(reasons(mine[0]).is_empty(), "{:#}", mine[0]);
    assert_eq!((&mine[0]["target"]["path"], &mine[0]["target"]["exists"]), (&"tool".into(), &true.into()));
    assert_eq!(reasons(mine[1]), ["what it starts was changed since its package brought it"]);
    assert_eq!((mine[1]["who"].as_str(), mine[1]["line"].as_u64()), (Some("u"), Some(2)));
    assert_eq!(reasons(mine[2]), ["what it starts is not there"]);
    assert_eq!(reasons(row(&rows, "/etc/cron.d/loose")), ["others may change it"]);
    assert_eq!(taken.outcome("table of persistence").0, Outcome::Ok);
    let files = std::str::from_utf8(&taken.members["packages/files.jsonl"]).unwrap();
    assert!(
        files.lines().any(|line| line.contains("/usr/sbin/other") && line.contains("\"changed\"")),
        "{files}"
    );
    assert!(std::str::from_utf8(&taken.members["packages/installed.jsonl"]).unwrap().contains("\"tool\""));
}

#[test]
fn hostile_places_end_in_outcomes_and_nothing_is_followed() {
    let host = tempfile::tempdir().unwrap();
    let root = host.path();
    lay(
        root,
        &[
            ("etc/passwd", "u:x:1000:1000::/home/u:/bin/sh\n"),
            ("etc/cron.d/\u{1b}[2J", "* * * * * root /tmp/\u{1b}x\n"),
            ("etc/systemd/system/a.service", "[Service]\nExecStart=/usr/bin/%i $X\nUser=\n"),
            (
                "etc/ssh/sshd_config",
                "Include /etc/ssh/sshd_config\nInclude /etc/ssh/*.d/../../../x\nForceCommand /x\n",
            ),
            ("secret", "* * * * * root /no\n"),
            ("home/u/.bashrc", "x\n"),
        ],
    );
    // A link of a user, a loop, a pipe and a file too large.
    let links = [("/secret", "home/u/.profile"), ("round", "etc/cron.d/round")];
    for (target, path) in links {
        symlink(target, root.join(path)).unwrap();
    }
    std::os::unix::fs::lchown(root.join("home/u/.profile"), Some(1000), Some(1000)).unwrap();
    nix::unistd::mkfifo(&root.join("etc/crontab"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    std::fs::write(root.join("etc/ld.so.preload"), vec![b'#'; 3 << 20]).unwrap();
    let taken = take(root, &[Step::Persistence]);
    let rows = rows(&taken);
    assert!(!rows.iter().any(|row| row.to_string().contains("/no")), "{rows:#?}");
    let escaped = row(&rows, "/etc/cron.d/\\x1B[2J");
    assert_eq!(escaped["what"], "/tmp/\\x1Bx");
    assert!(reasons(escaped).contains(&"starts from a temporary place"));
    assert_eq!(taken.outcome("/home/u/.profile").0, Outcome::Refused);
    assert_eq!(taken.outcome("/etc/cron.d/round").0, Outcome::Refused);
    let (outcome, detail) = taken.outcome("table of persistence");
    assert_eq!(outcome, Outcome::Partial, "{detail}");
    assert!(detail.contains("ld.so.preload"), "{detail}");
    let unit = row(&rows, "/etc/systemd/system/a.service");
    assert_eq!((&unit["target"]["exists"], unit["who"].as_str()), (&Value::Null, Some("root")));
    // There is no package manager: that is said, and nothing is called foreign.
    assert_eq!(taken.outcome("installed packages").0, Outcome::Refused);
}

#[test]
fn what_is_suspicious_becomes_a_finding_and_is_taken() {
    let host = tempfile::tempdir().unwrap();
    lay(
        host.path(),
        &[
            ("etc/systemd/system/x.service", "[Service]\nExecStart=/opt/.x/run\n"),
            ("etc/systemd/system/x.timer", "[Timer]\nOnBootSec=5\n"),
            ("opt/.x/run", "#!/bin/sh\n"),
        ],
    );
    let taken = take(host.path(), &[Step::Persistence, Step::Hidden]);
    let rows = rows(&taken);
    assert_eq!(reasons(row(&rows, "/etc/systemd/system/x.timer")), ["starts a suspicious unit"]);
    let findings = std::str::from_utf8(&taken.members["hidden/findings.json"]).unwrap();
    assert!(findings.contains("persistence, the place: starts from a hidden place"), "{findings}");
    assert!(findings.contains("persistence, what is started: starts from a hidden place"), "{findings}");
    assert!(taken.members.contains_key("files/opt/.x/run"));
    assert!(taken.members.contains_key("files/etc/systemd/system/x.service"));
}

#[test]
fn an_empty_host_has_an_empty_table() {
    let host = tempfile::tempdir().unwrap();
    let taken = take(host.path(), &[Step::Persistence]);
    assert!(rows(&taken).is_empty());
    let rpm = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(rpm.path().join("var/lib/rpm")).unwrap();
    assert_eq!(take(rpm.path(), &[Step::Persistence]).outcome("/var/lib/rpm").0, Outcome::Refused);
}
