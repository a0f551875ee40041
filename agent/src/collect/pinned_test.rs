use std::process::Command;

use super::*;
use crate::bundle::Outcome;
use crate::collect::testing::Child;

#[test]
fn a_process_is_opened_once_and_gone_after_its_end() {
    let pinned = Pinned::new("/proc".into());
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let id = child.id();
    let first = pinned.get(id).unwrap();
    assert!(Arc::ptr_eq(&first, &pinned.get(id).unwrap()));
    drop(child);
    assert_eq!(pinned.get(id).unwrap_err().outcome, Outcome::Gone);
    assert!(first.text("cmdline", 4096).is_err());
}

#[test]
fn another_start_is_another_process_and_stays_one() {
    let pinned = Pinned::new("/proc".into());
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let other = ProcessId { start: child.id().start + 1, ..child.id() };
    pinned.open([other].into_iter());
    assert_eq!(pinned.get(other).unwrap_err().outcome, Outcome::IdentityChanged);
    assert!(pinned.get(child.id()).is_ok());
}

#[test]
fn without_room_it_is_opened_each_time() {
    let pinned = Pinned { most: 0, ..Pinned::new("/proc".into()) };
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let first = pinned.get(child.id()).unwrap();
    assert!(!Arc::ptr_eq(&first, &pinned.get(child.id()).unwrap()));
}
