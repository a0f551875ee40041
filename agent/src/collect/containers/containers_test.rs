use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::Value;

use crate::bundle::Outcome;
use crate::collect::testing::{self, Taken};
use crate::event::{Action, Event, Image, ProcessId, Source};
use crate::plan::Step;
use crate::text::Bytes;

const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn rows(taken: &Taken) -> Vec<Value> {
    let text = std::str::from_utf8(&taken.members["containers.jsonl"]).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A look at nothing but these files: no process stands in a container's group.
fn take(root: &Path, ran: &[(ProcessId, &str)]) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    job.places.proc = root.join("proc");
    let mut tree = testing::tree(&[]);
    for (process, cgroup) in ran {
        let image = Image { executable: Bytes::from("/x"), cgroup: Bytes::from(*cgroup), ..Image::default() };
        let time = "2026-11-20T14:00:00Z".parse().unwrap();
        tree.apply(&Event {
            time,
            source: Source::Scan,
            process: *process,
            action: Action::Exec(Box::new(image)),
        });
    }
    testing::take(&job, &tree, &[], &[Step::Container])
}

fn write(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_host_without_containers_has_an_empty_table() {
    let root = tempfile::tempdir().unwrap();
    let taken = take(root.path(), &[]);
    assert_eq!(taken.members["containers.jsonl"], b"");
    assert_eq!(taken.attempts.len(), 1);
}

#[test]
fn stopped_and_gone_ones_are_told_apart_and_broken_records_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = format!("/var/lib/docker/containers/{ID}");
    write(root.path(), &format!("{folder}/config.v2.json"), format!(r#"{{"ID":"{ID}","Name":"/web"}}"#));
    write(root.path(), "/var/lib/docker/containers/broken/config.v2.json", "{");
    fs::create_dir_all(root.path().join("var/lib/docker/containers/empty")).unwrap();
    fs::create_dir_all(root.path().join("var/lib/lxc/odd")).unwrap();
    symlink("/etc/passwd", root.path().join("var/lib/lxc/odd/config")).unwrap();
    let boot = crate::event::BootId([2; 16]);
    let gone = ID.replace('0', "9");
    let taken = take(
        root.path(),
        &[(ProcessId { boot, pid: 70, start: 1 }, &format!("/system.slice/docker-{gone}.scope"))],
    );
    let rows = rows(&taken);
    let states: Vec<_> =
        rows.iter().map(|row| (row["id"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
    assert_eq!(states, [(ID, "stopped"), (&gone, "gone")]);
    assert_eq!((&rows[0]["name"], &rows[0]["runtime"]), (&Value::from("web"), &Value::from("docker")));
    assert_eq!(
        (&rows[1]["executables"][0], rows[1]["exited"].as_array().unwrap().len()),
        (&Value::from("/x"), 1)
    );
    assert_eq!(taken.outcome("/var/lib/docker/containers/broken/config.v2.json").0, Outcome::Refused);
    assert!(!taken.attempts.iter().any(|attempt| attempt.subject.contains("empty")));
}

#[test]
fn a_writable_layer_is_listed_with_deletions() {
    let root = tempfile::tempdir().unwrap();
    let host = root.path();
    write(host, &format!("/var/lib/docker/containers/{ID}/config.v2.json"), format!(r#"{{"ID":"{ID}"}}"#));
    write(host, &format!("/var/lib/docker/image/overlay2/layerdb/mounts/{ID}/mount-id"), "m1");
    write(host, "/var/lib/docker/overlay2/m1/diff/tmp/x", "abc");
    write(host, "/var/lib/docker/overlay2/m1/diff/etc/.wh.motd", "");
    write(host, "/var/lib/docker/overlay2/m1/diff/srv/.wh..wh..opq", "");
    mknod(&host.join("var/lib/docker/overlay2/m1/diff/etc/passwd"), SFlag::S_IFCHR, Mode::S_IRUSR, 0)
        .unwrap();
    let taken = take(host, &[]);
    let text = std::str::from_utf8(&taken.members[&format!("container/{ID}/changes.jsonl")]).unwrap();
    let changes: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        changes.iter().map(|row| (row["path"].as_str().unwrap(), row["change"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("/etc", "written"),
            ("/etc/motd", "deleted"),
            ("/etc/passwd", "deleted"),
            ("/srv", "written"),
            ("/tmp", "written"),
            ("/tmp/x", "written")
        ]
    );
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((&changes[5]["sha256"], &changes[1]["sha256"]), (&Value::from(sum), &Value::Null));
}

#[test]
fn what_is_added_is_told_from_what_is_changed() {
    use crate::collect::walk::Walker;
    let root = tempfile::tempdir().unwrap();
    let host = root.path();
    write(host, "/up/a", "new");
    write(host, "/up/etc/motd", "x");
    write(host, "/up/etc/old", "x");
    write(host, "/l1/a/not-a-file", "");
    write(host, "/l2/etc/motd", "y");
    write(host, "/l2/etc/old", "y");
    fs::create_dir_all(host.join("l1/etc")).unwrap();
    mknod(&host.join("l1/etc/old"), SFlag::S_IFCHR, Mode::S_IRUSR, 0).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let mut walker = Walker::new(host, Path::new("/proc"), 100, until);
    let list = |lower: &[Vec<u8>], walker: &mut Walker| {
        let found = super::layer::changes(b"/up", lower, walker, &mut super::layer::Room::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let job = testing::job();
        let mut bag =
            crate::bundle::Bag::create(fs::File::open(folder.path()).unwrap().into(), job.id).unwrap();
        let mut progress = |_| {};
        let mut attempts =
            crate::collect::attempts::Attempts::new(&mut bag, &mut progress, &job.limits, until);
        attempts.take("x", &crate::bundle::Name::data(&["x"]), |_| Ok(found)).unwrap();
        bag.finish().unwrap();
        let (_, text) = testing::read(folder.path(), &job);
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            (row["path"].as_str().unwrap().to_owned(), row["change"].as_str().unwrap().to_owned())
        };
        std::str::from_utf8(&text).unwrap().lines().map(row).collect::<Vec<_>>()
    };
    let told = list(&[b"/l1".to_vec(), b"/l2".to_vec()], &mut walker);
    let told: Vec<_> = told.iter().map(|(path, change)| (path.as_str(), change.as_str())).collect();
    assert_eq!(
        told,
        [("/a", "changed"), ("/etc", "changed"), ("/etc/motd", "changed"), ("/etc/old", "added")]
    );
    // A layer that cannot be found: nobody can say what it had.
    let told = list(&[b"/l1".to_vec(), b"/none".to_vec()], &mut walker);
    assert!(told.iter().all(|(_, change)| change == "written"), "{told:?}");
}
