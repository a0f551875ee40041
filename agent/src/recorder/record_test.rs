use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::bundle::Outcome;
use crate::capture::job::{Facts, Limits, Places};
use crate::event::BootId;
use crate::trigger::{Profile, Trigger};

fn job(number: u128, key: Option<&str>) -> Job {
    Job {
        id: Uuid::from_u128(number),
        accepted: Timestamp::UNIX_EPOCH,
        trigger: Trigger {
            sender: "falco".to_owned(),
            dedup_key: key.map(str::to_owned),
            ..Trigger::default()
        },
        raw: b"{}"[..].to_vec().into(),
        targets: Vec::new(),
        profile: Profile::Triage,
        limits: Limits::default(),
        places: Places { proc: "/proc".into(), root: "/".into(), history: None, stash: None },
        facts: Facts {
            boot: BootId::default(),
            machine_id: "0".repeat(32),
            hostname: String::new(),
            kernel: String::new(),
            version: String::new(),
            config_sha256: String::new(),
            initial_pid_namespace: false,
            probe: json!(null),
            gaps: Vec::new(),
            counts: json!(null),
            changes: Vec::new(),
        },
    }
}

fn sealed(id: Uuid) -> Sealed {
    Sealed {
        id,
        file: format!("{id}.tar.zst"),
        bytes: 7,
        sha256: "ab".to_owned(),
        artifacts: 1,
        payload_bytes: 9,
        outcomes: BTreeMap::from([(Outcome::Ok, 3)]),
        incomplete: None,
    }
}

#[test]
fn a_restart_forgets_neither_the_bundle_nor_the_alert_nor_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::open(folder.path()).unwrap();
    let job = job(1, Some("alert"));
    records.keep(Record::new(&job, Some("msg_1".to_owned()))).unwrap();
    records.ended(job.id, &Ok(sealed(job.id))).unwrap();
    let records = Records::open(folder.path()).unwrap();
    let state = &records.get(&job.id).unwrap().state;
    assert_eq!((state.stage, state.bundle.as_ref().unwrap().size), (Stage::Sealed, 7));
    assert_eq!(records.by_alert("falco", "alert"), Some(job.id));
    assert_eq!(records.by_alert("other", "alert"), None, "another sender's alert is another alert");
    assert!(records.has_message("msg_1") && !records.has_message("msg_2"));
}

#[test]
fn a_bundle_that_went_to_a_directory_of_the_users_is_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::open(folder.path()).unwrap();
    let job = job(1, None);
    let record = Record { in_store: false, ..Record::new(&job, None) };
    records.keep(record).unwrap();
    records.ended(job.id, &Ok(sealed(job.id))).unwrap();
    let state = &records.get(&job.id).unwrap().state;
    assert_eq!((state.stage, state.bundle.is_none()), (Stage::Sealed, true));
}

#[test]
fn a_failure_keeps_its_words_and_newest_stand_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::open(folder.path()).unwrap();
    for number in [1, 2, 3] {
        records.keep(Record::new(&job(number, None), None)).unwrap();
    }
    records.ended(Uuid::from_u128(2), &Err("no room".to_owned())).unwrap();
    let states: Vec<_> = records.states().map(|state| (state.id.as_u128(), state.stage)).collect();
    assert_eq!(states, [(3, Stage::Queued), (2, Stage::Failed), (1, Stage::Queued)]);
    assert_eq!(records.get(&Uuid::from_u128(2)).unwrap().state.detail.as_deref(), Some("no room"));
    assert_eq!(records.unsettled(), [(Uuid::from_u128(1), true), (Uuid::from_u128(3), true)]);
}

#[test]
fn an_alert_whose_capture_failed_may_ask_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::open(folder.path()).unwrap();
    records.keep(Record::new(&job(1, Some("alert")), None)).unwrap();
    assert!(records.by_alert("falco", "alert").is_some());
    records.ended(Uuid::from_u128(1), &Err("the disk is full".to_owned())).unwrap();
    assert_eq!(records.by_alert("falco", "alert"), None);
}

#[test]
fn files_that_are_no_records_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.json", "{"), ("b.json", ""), ("c.json", "[1]"), ("d.new", "{}"), ("e", "x")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    assert_eq!(Records::open(folder.path()).unwrap().states().count(), 0);
}

#[test]
fn leftover_jobs_are_those_without_a_bundle_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u128, end: &str| folder.path().join(format!("{}.{end}", Uuid::from_u128(number)));
    for number in [3, 1, 2] {
        std::fs::write(path(number, "job"), serde_json::to_vec(&job(number, None)).unwrap()).unwrap();
    }
    std::fs::write(path(2, "tar.zst"), "").unwrap();
    std::fs::write(folder.path().join("torn.job"), "{").unwrap();
    let jobs = leftover_jobs(folder.path()).unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_u128()).collect::<Vec<_>>(), [1, 3]);
    assert!(!path(2, "job").exists(), "a sealed capture has no job any more");
}
