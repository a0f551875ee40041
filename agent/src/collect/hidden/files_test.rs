use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::super::super::testing::{self, Child, Taken};
use super::super::super::{Context, deleted};
use crate::bundle::{Bag, Outcome};
use crate::capture::job::Job;
use crate::collect;
use crate::plan::{self, Step};

fn write(root: &Path, path: &[u8], mode: u32) {
    let path = root.join(std::ffi::OsStr::from_bytes(path));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"content of it").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn take(job: &Job) -> Taken {
    testing::take(job, &testing::tree(&[]), &[], &[Step::Hidden])
}

fn findings(taken: &Taken) -> Vec<String> {
    let rows: serde_json::Value = serde_json::from_slice(&taken.members["hidden/findings.json"]).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_hidden_is_found_and_copied_and_the_ordinary_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (path, mode) in [
        (&b"etc/skel/.bashrc"[..], 0o644),
        (b"etc/ssh/config", 0o644),
        (b"home/wasiluser/.cache/.sys/xmrig", 0o755),
        (b"home/wasiluser/.cache/.sys/deep/config.json", 0o600),
        (b"home/wasiluser/.cache/thumbs/a.png", 0o644),
        (b"home/wasiluser/.bashrc", 0o644),
        (b"tmp/.X11-unix/X0", 0o644),
        (b".root/x", 0o644),
        (b".dockerenv", 0o644),
        (b"tmp/.hidden", 0o644),
        (b"tmp/run.sh", 0o700),
        (b"tmp/plain", 0o644),
        (b"dev/shm/.../x", 0o644),
        (b"dev/file", 0o644),
        (b"usr/lib/.build-id/ab", 0o644),
        (b"usr/lib/.evil/y", 0o644),
        (b"usr/bin/vim ", 0o755),
        (b"var/www/html/a\n.php", 0o644),
    ] {
        write(root, path, mode);
    }
    std::fs::write(root.join("etc/passwd"), "w:x:1000:1000::/home/wasiluser:/bin/sh\n").unwrap();
    mkfifo(&root.join("dev/shm/.../fifo"), Mode::S_IRWXU).unwrap();
    symlink("/etc/shadow", root.join("dev/shm/.../link")).unwrap();
    let mut job = testing::job();
    job.places.root = root.to_owned();
    let taken = take(&job);
    assert_eq!(
        findings(&taken),
        [
            "/.root",
            "/dev/file",
            "/dev/shm/...",
            "/home/wasiluser/.cache/.sys",
            "/tmp/.hidden",
            "/tmp/run.sh",
            "/usr/bin/vim ",
            "/usr/lib/.evil",
            "/var/www/html/a\\x0A.php",
        ]
    );
    for name in [
        "files/home/wasiluser/.cache/.sys/xmrig",
        "files/home/wasiluser/.cache/.sys/deep/config.json",
        "files/dev/shm/..=2E/x",
        "files/usr/bin/vim=20",
        "files/var/www/html/a=0A.php",
    ] {
        assert_eq!(taken.members.get(name).map(Vec::as_slice), Some(&b"content of it"[..]), "{name}");
    }
    assert_eq!(taken.outcome("/dev/shm/.../fifo").0, Outcome::Refused);
    let link = taken.outcome("/dev/shm/.../link");
    assert_eq!(link, (Outcome::Refused, "a symbolic link to /etc/shadow"));
    assert_eq!(taken.outcome("findings").0, Outcome::Ok);
}

#[test]
fn a_deleted_file_that_is_open_is_copied_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"what was said").unwrap();
    std::fs::remove_file(&path).unwrap();
    let copy = file.try_clone().unwrap();
    let mut command = Command::new("sleep");
    let child = Child::spawn(command.arg("60").stdin(Stdio::from(file)).stdout(Stdio::from(copy)));
    let id = child.id();
    let mut job = testing::job();
    job.places.root = folder.path().to_owned();
    let taken = testing::take(&job, &testing::tree(&[id]), &[id], &[Step::Hidden]);
    assert_eq!(taken.members[&format!("hidden/deleted/{}/fd-0", id.short())], b"what was said");
    assert!(!taken.members.contains_key(&format!("hidden/deleted/{}/fd-1", id.short())));
    assert_eq!(findings(&taken), [format!("{} (deleted)", path.display())]);
}

#[test]
fn of_a_deleted_file_with_large_holes_the_data_are_kept_and_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(b"in the middle of a terabyte", 1 << 39).unwrap();
    std::fs::remove_file(&path).unwrap();
    let child = Child::spawn(Command::new("sleep").arg("60").stdin(Stdio::from(file)));
    let id = child.id();
    let mut job = testing::job();
    job.places.root = folder.path().to_owned();
    let taken = testing::take(&job, &testing::tree(&[id]), &[id], &[Step::Code, Step::Hidden]);
    let member = |name: &str| &taken.members[&format!("hidden/deleted/{}/{name}", id.short())];
    let list: serde_json::Value = serde_json::from_slice(member("fd-0.json")).unwrap();
    assert_eq!((&list["size"], &list["data"][0]["offset"]), (&(1_u64 << 40).into(), &(1_u64 << 39).into()));
    assert!(member("fd-0.data").starts_with(b"in the middle of a terabyte"));
    assert_eq!(taken.outcome(&format!("{} fd/0 {} (deleted)", id.short(), path.display())).0, Outcome::Ok);
}

#[test]
fn a_deleted_file_that_was_held_outlives_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"the last words").unwrap();
    std::fs::remove_file(&path).unwrap();
    let child = Child::spawn(Command::new("sleep").arg("60").stdin(Stdio::from(file)));
    let id = child.id();
    let mut job = testing::job();
    job.places.root = folder.path().to_owned();
    let bundle = tempfile::tempdir().unwrap();
    let mut bag = Bag::create(std::fs::File::open(bundle.path()).unwrap().into(), job.id).unwrap();
    let (tree, targets) = (testing::tree(&[id]), [id]);
    let mut plan = plan::plan(&job, &tree, &targets, &plan::around::Around::default());
    plan.steps.retain(|step| *step == Step::Hidden);
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut context = Context::new(&job, &tree, &targets, plan, collect::Look::default(), deadline);
    deleted::hold(&mut context);
    drop(child);
    collect::run(&mut context, &mut bag, &mut |_| {}).unwrap();
    bag.finish().unwrap();
    let (members, _) = testing::contents(bundle.path(), &job);
    assert_eq!(members[&format!("hidden/deleted/{}/fd-0", id.short())], b"the last words");
}

#[test]
fn more_deleted_files_than_are_held_at_once_are_all_copied() {
    let folder = tempfile::tempdir().unwrap();
    let script = "import os, sys, time\nopen_files = []\nfor n in range(600):\n    f = open(sys.argv[1] + str(n), 'w')\n    \
                  f.write(str(n)); f.flush(); os.remove(f.name); open_files.append(f)\nprint('ready', flush=True)\n\
                  time.sleep(60)\n";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(folder.path().join("f")).stdout(Stdio::piped());
    let mut child = Child::spawn(&mut command);
    assert_eq!(child.line(), "ready\n");
    let id = child.id();
    let mut job = testing::job();
    job.places.root = folder.path().to_owned();
    let taken = testing::take(&job, &testing::tree(&[id]), &[id], &[Step::Hidden]);
    let below = format!("hidden/deleted/{}/", id.short());
    let mut contents: Vec<u32> = taken
        .members
        .iter()
        .filter(|(name, _)| name.starts_with(&below))
        .map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().parse().unwrap())
        .collect();
    contents.sort_unstable();
    assert_eq!(contents, (0..600).collect::<Vec<_>>());
}

#[test]
fn the_budget_of_one_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("tmp/.x")).unwrap();
    std::fs::write(folder.path().join("tmp/.x/large"), [b'x'; 8192]).unwrap();
    let sparse = std::fs::File::create(folder.path().join("tmp/.x/sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let mut job = testing::job();
    job.places.root = folder.path().to_owned();
    job.limits.file_bytes = 4096;
    let taken = take(&job);
    assert_eq!(taken.members["files/tmp/.x/large"].len(), 4096);
    assert_eq!(taken.outcome("/tmp/.x/large").0, Outcome::Partial);
    // A hole is no content.
    assert_eq!(taken.members["files/tmp/.x/sparse.data"].len(), 0);
    assert_eq!(taken.outcome("/tmp/.x/sparse").0, Outcome::Ok);
}

#[test]
fn below_usr_only_what_no_package_can_have_brought_is_found() {
    let attributes = |uid: u32, changed: i64| super::Attributes {
        device: (8, 1),
        inode: 1,
        links: 1,
        mode: 0o100_755,
        uid,
        gid: 0,
        size: 1,
        mount: None,
        immutable: false,
        append_only: false,
        times: [None, None, Some((changed, 5)), None],
    };
    for (uid, changed, packaged, expected) in [
        (0, 100, Some((100, 5)), true),
        (0, 100, Some((100, 4)), false),
        (0, 101, Some((100, 5)), false),
        (1000, 99, Some((100, 5)), false),
        (0, 99, None, false),
    ] {
        let judged = super::is_packaged(&attributes(uid, changed), packaged);
        assert_eq!(judged, expected, "uid {uid}, changed {changed}, packaged {packaged:?}");
    }
}

#[test]
fn what_is_younger_than_the_package_database_is_found_below_usr() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, b"usr/lib/.old/x", 0o644);
    write(root, b"var/lib/dpkg/status", 0o644);
    let status = std::fs::metadata(root.join("var/lib/dpkg/status")).unwrap();
    let young = root.join("usr/lib/.young");
    let deadline = Instant::now() + Duration::from_secs(10);
    // The clock of inodes is coarse.
    loop {
        write(root, b"usr/lib/.young/x", 0o644);
        let changed = std::fs::metadata(&young).unwrap();
        if (changed.ctime(), changed.ctime_nsec()) > (status.ctime(), status.ctime_nsec()) {
            break;
        }
        assert!(Instant::now() < deadline, "the clock stands");
        std::fs::remove_dir_all(&young).unwrap();
    }
    let mut job = testing::job();
    job.places.root = root.to_owned();
    let taken = take(&job);
    let mut expected = vec!["/usr/lib/.young"];
    // Whoever is not root leaves nothing that a package could have brought.
    if status.uid() != 0 {
        expected.insert(0, "/usr/lib/.old");
    }
    assert_eq!(findings(&taken), expected);
    assert_eq!(taken.members.contains_key("files/usr/lib/.old/x"), status.uid() != 0);
    assert!(taken.members.contains_key("files/usr/lib/.young/x"));
}
