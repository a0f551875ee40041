use std::process::Command;

use super::super::testing::{self, Child};
use crate::bundle::Outcome;
use crate::plan::Step;

#[test]
fn the_state_of_a_child_is_what_it_was_started_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sleep");
    command.arg("60").env_clear().env("MARKER", "of this test").current_dir(folder.path());
    let child = Child::spawn(&mut command);
    let id = child.id();
    let taken = testing::take(&testing::job(), &testing::tree(&[id]), &[id], &[Step::Process]);
    let member = |name: &str| taken.members[&format!("process/{}/{name}", id.short())].clone();
    assert_eq!(member("cmdline"), b"sleep\x0060\0");
    assert_eq!(member("environ"), b"MARKER=of this test\0");
    let ns: serde_json::Value = serde_json::from_slice(&member("ns.json")).unwrap();
    assert_eq!(ns["cwd"], folder.path().to_str().unwrap());
    let threads: serde_json::Value = serde_json::from_slice(&member("threads.json")).unwrap();
    assert_eq!((threads[0]["tid"].as_u64(), threads.as_array().unwrap().len()), (Some(id.pid.into()), 1));
    for attempt in taken.attempts.iter().filter(|attempt| attempt.outcome != Outcome::Ok) {
        assert!(attempt.detail.is_some(), "{attempt:?}");
        assert!(matches!(attempt.outcome, Outcome::Refused), "{attempt:?}");
    }
}

#[test]
fn the_agent_itself_is_never_taken() {
    let own = testing::own();
    let taken = testing::take(
        &testing::job(),
        &testing::tree(&[own]),
        &[own],
        &[Step::Process, Step::Exe, Step::Memory],
    );
    assert!(taken.members.is_empty());
    assert_eq!(taken.attempts.len(), 3);
    for attempt in taken.attempts {
        assert_eq!(attempt.outcome, Outcome::Refused);
    }
}

#[test]
fn a_deadline_that_has_passed_is_said_of_every_attempt() {
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let mut job = testing::job();
    job.limits.deadline_s = 0;
    let id = child.id();
    let taken = testing::take(&job, &testing::tree(&[id]), &[id], &[Step::Process, Step::Exe, Step::Memory]);
    assert!(taken.members.is_empty());
    assert!(
        taken.attempts.iter().all(|attempt| attempt.outcome == Outcome::TimedOut),
        "{:?}",
        taken.attempts
    );
}
