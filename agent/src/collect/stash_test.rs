use super::super::testing::{self, Taken};
use super::*;
use crate::event::{Action, BootId, Event, Exit, ProcessId, Source};
use crate::history::tree::{Bounds, Tree};
use crate::plan::Step;
use crate::text::Bytes;

/// A run over one exited process with `content` in the stash under the name of `named`, said to have `size` bytes.
fn take(content: &[u8], named: &[u8], size: u64, sha256: Option<&str>) -> (String, Taken) {
    let folder = tempfile::tempdir().unwrap();
    let hash = text::hex(&Sha256::digest(named));
    std::fs::write(folder.path().join(format!("{hash}.zst")), zstd::encode_all(content, 1).unwrap()).unwrap();
    let id = ProcessId { boot: BootId([1; 16]), pid: 4_000_000, start: 7 };
    let sha256 = sha256.unwrap_or(&hash).to_owned();
    let stashed = Stashed { sha256, size, executable: Bytes::from("/tmp/x") };
    let mut tree = Tree::new(Bounds::COLLECTOR);
    for action in [Action::Stash(stashed), Action::Exit(Exit { code: 0, signal: 9 })] {
        let time = "2026-11-20T14:00:00Z".parse().unwrap();
        tree.apply(&Event { time, source: Source::Agent, process: id, action });
    }
    let mut job = testing::job();
    job.places.stash = Some(folder.path().to_owned());
    (hash, testing::take(&job, &tree, &[id], &[Step::Stash, Step::Process]))
}

#[test]
fn the_executable_of_an_exited_process_is_there_with_its_hash() {
    let content = b"#!/bin/sh\nexit".repeat(100_000);
    let (hash, taken) = take(&content, &content, u64::try_from(content.len()).unwrap(), None);
    assert_eq!(taken.members[&format!("stash/{hash}")], content);
    assert_eq!(taken.outcome(&format!("{hash} /tmp/x")), (Outcome::Ok, ""));
    assert_eq!(taken.outcome("4000000-7 state").0, Outcome::Gone);
}

#[test]
fn a_copy_that_was_changed_is_said_to_be() {
    let (hash, taken) = take(b"evil", b"good", 4, None);
    let (outcome, detail) = taken.outcome(&format!("{hash} /tmp/x"));
    assert_eq!(outcome, Outcome::Partial);
    assert!(detail.contains("another hash"), "{detail}");
}

#[test]
fn a_wrong_size_and_a_name_that_climbs_are_not_believed() {
    let (hash, taken) = take(b"good", b"good", 400, None);
    assert_eq!(taken.outcome(&format!("{hash} /tmp/x")).0, Outcome::Partial);
    let (_, taken) = take(b"good", b"good", 4, Some("../../etc/shadow"));
    assert_eq!(taken.outcome("../../etc/shadow /tmp/x").0, Outcome::Refused);
    assert!(taken.members.is_empty());
}
