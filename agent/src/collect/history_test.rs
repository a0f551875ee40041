use std::time::Instant;

use super::super::testing;
use super::*;
use crate::event::{Action, Agent, BootId, Event, Source};
use crate::history::writer::Writer;
use crate::plan::Step;

/// A segment whose first event is of that time.
fn segment(folder: &std::path::Path, time: &str) {
    let mut writer = Writer::new(folder).unwrap();
    let process = ProcessId { boot: BootId([1; 16]), pid: 1, start: 1 };
    let action = Action::Agent(Agent { state: "started".to_owned(), detail: String::new(), counts: None });
    let event = Event { time: time.parse().unwrap(), source: Source::Agent, process, action };
    writer.append(&event, Instant::now()).unwrap();
    writer.seal_frame(Instant::now()).unwrap();
}

#[test]
fn the_window_is_copied_byte_for_byte_and_what_is_older_is_not() {
    let folder = tempfile::tempdir().unwrap();
    // Accepted on the 20th at 14:03; two hours are asked for. The second segment may reach into them.
    for time in ["2026-11-18T00:00:00Z", "2026-11-20T09:00:00Z", "2026-11-20T13:00:00Z"] {
        segment(folder.path(), time);
    }
    let mut job = testing::job();
    job.limits.history_hours = 2;
    job.places.history = Some(folder.path().to_owned());
    let taken = testing::take(&job, &testing::tree(&[]), &[], &[Step::History, Step::Tree]);
    let copied: Vec<&str> = taken.members.keys().filter_map(|name| name.strip_prefix("history/")).collect();
    assert_eq!(copied.len(), 2, "{copied:?}");
    for name in copied {
        assert_eq!(
            taken.members[&format!("history/{name}")],
            std::fs::read(folder.path().join(name)).unwrap()
        );
    }
    let trigger: serde_json::Value = serde_json::from_slice(&taken.members["trigger.json"]).unwrap();
    assert_eq!(trigger["raw"], "{}");
    assert_eq!(taken.members["process/tree.json"], b"[]");
}

#[test]
fn without_a_recorder_the_history_is_said_to_be_missing() {
    let taken = testing::take(&testing::job(), &testing::tree(&[]), &[], &[Step::History]);
    assert_eq!(taken.outcome("history").0, Outcome::Gone);
}

#[test]
fn the_tree_says_who_lives_and_who_is_meant() {
    let id = ProcessId { boot: BootId([1; 16]), pid: 9, start: 3 };
    let taken = testing::take(&testing::job(), &testing::tree(&[id]), &[id], &[Step::Tree]);
    let rows: serde_json::Value = serde_json::from_slice(&taken.members["process/tree.json"]).unwrap();
    assert_eq!(rows[0]["id"], id.to_string());
    assert_eq!((rows[0]["living"].as_bool(), rows[0]["target"].as_bool()), (Some(true), Some(true)));
    assert_eq!(rows[0]["scope"], "target");
}
