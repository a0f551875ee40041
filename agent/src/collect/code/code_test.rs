use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::library::{Way, find};
use crate::bundle::Outcome;
use crate::collect::mounted::Sight;
use crate::collect::procdir::ProcDir;
use crate::collect::testing::{self, Child, Taken};
use crate::event::ProcessId;
use crate::plan::{self, Libraries, Step};
use crate::proc::{Mapping, mappings};
use crate::trigger::Profile;

fn json(taken: &Taken, name: &str) -> Value {
    serde_json::from_slice(&taken.members[name]).unwrap()
}

/// A child that has loaded all its libraries.
fn cat() -> Child {
    let mut child = Child::spawn(
        Command::new("/bin/sh")
            .args(["-c", "echo ready; read x"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    );
    assert_eq!(child.line(), "ready\n");
    child
}

fn libc_of(id: ProcessId) -> Mapping {
    let maps = std::fs::read(format!("/proc/{}/maps", id.pid)).unwrap();
    let is_libc = |one: &Mapping| one.exec && one.path.as_slice().windows(5).any(|part| part == b"libc.");
    mappings(&maps).into_iter().find(is_libc).unwrap()
}

#[test]
fn the_code_of_a_clean_process_is_mapped_taken_once_and_no_finding() {
    let children = [cat(), cat()];
    let ids = [children[0].id(), children[1].id()];
    let taken = testing::take(&testing::job(), &testing::tree(&ids), &ids, &[Step::Exe, Step::Code]);
    assert_eq!(json(&taken, "code/findings.json"), Value::Array(Vec::new()));
    for attempt in &taken.attempts {
        assert_eq!(attempt.outcome, Outcome::Ok, "{attempt:?}");
    }
    let libc = libc_of(ids[0]);
    let path = std::str::from_utf8(libc.path.as_slice()).unwrap();
    let content = std::fs::read(path).unwrap();
    let mut artifacts = Vec::new();
    for id in ids {
        let code = json(&taken, &format!("process/{}/code.json", id.short()));
        let maps = std::fs::read(format!("/proc/{}/maps", id.pid)).unwrap();
        let executable = mappings(&maps).into_iter().filter(|one| one.exec).count();
        assert_eq!(code["mappings"].as_array().unwrap().len(), executable);
        let row = code["mappings"].as_array().unwrap().iter().find(|row| row["path"] == path).unwrap();
        let pages = row["pages"].as_array().unwrap();
        assert!(!pages.is_empty() && pages.iter().all(|run| run["source"] == "file"), "{row}");
        let file = &code["files"][usize::try_from(row["file"].as_u64().unwrap()).unwrap()];
        assert_eq!(file["path"], path);
        artifacts.push(file["artifact"].as_str().unwrap().to_owned());
        let exe = code["files"]
            .as_array()
            .unwrap()
            .iter()
            .find(|file| file["path"].as_str().unwrap().ends_with("sh"));
        assert_eq!(exe.unwrap()["artifact"], format!("data/process/{}/exe", ids[0].short()));
    }
    assert_eq!(artifacts[0], artifacts[1]);
    assert_eq!(taken.members[artifacts[0].strip_prefix("data/").unwrap()], content);
}

#[test]
fn a_file_is_found_by_its_mapping_and_by_a_name_that_still_is_its() {
    let child = cat();
    let id = child.id();
    let dir = ProcDir::open(Path::new("/proc"), id).unwrap();
    let sight = Sight::new(Path::new("/proc"));
    let (view, libc) = (sight.of(&dir), libc_of(id));
    let look = |mapping: &Mapping, way| {
        find(&dir, Path::new("/nonexistent"), mapping, way, &view).map(|(_, file)| (file.device, file.inode))
    };
    assert_eq!(look(&libc, Way::Mapping), Ok((libc.device, libc.inode)));
    assert_eq!(look(&libc, Way::Name), Ok((libc.device, libc.inode)));
    let replaced = Mapping { inode: libc.inode + 1, ..libc.clone() };
    assert_eq!(look(&replaced, Way::Name).unwrap_err().outcome, Outcome::IdentityChanged);
    for (path, outcome) in [
        ("/nonexistent/x", Outcome::Gone),
        ("/usr/lib/x (deleted)", Outcome::Refused),
        ("/proc/self/exe", Outcome::Refused),
        ("", Outcome::Gone),
    ] {
        let named = Mapping { path: path.into(), ..libc.clone() };
        assert_eq!(look(&named, Way::Name).unwrap_err().outcome, outcome, "{path}");
    }
    let gone = Mapping { start: 0x1000, end: 0x2000, ..libc };
    assert_eq!(look(&gone, Way::Mapping).unwrap_err().outcome, Outcome::Gone);
}

#[test]
fn only_a_full_capture_takes_what_packages_brought() {
    let mut job = testing::job();
    assert_eq!(
        plan::plan(&job, &testing::tree(&[]), &[], &plan::around::Around::default()).libraries,
        Libraries::Foreign
    );
    job.profile = Profile::Full;
    assert_eq!(
        plan::plan(&job, &testing::tree(&[]), &[], &plan::around::Around::default()).libraries,
        Libraries::All
    );
}

#[test]
fn a_process_that_has_gone_is_said_to_have() {
    let id = cat().id();
    let taken = testing::take(&testing::job(), &testing::tree(&[id]), &[id], &[Step::Code]);
    assert_eq!(taken.outcome(&format!("{} code", id.short())).0, Outcome::Gone);
    assert_eq!(json(&taken, "code/findings.json"), Value::Array(Vec::new()));
}
