use std::time::Duration;

use super::*;
use crate::event::touch::Place;
use crate::event::{BootId, Source};
use crate::history::writer::Writer;
use crate::text::Bytes;

pub(super) fn process(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: 1 }
}

fn event(time: &str, pid: u32, action: Action) -> Event {
    Event { time: time.parse().unwrap(), source: Source::Agent, process: process(pid), action }
}

fn call(what: What, path: &str, target: &str) -> Action {
    let (path, target) = (Bytes::from(path), Bytes::from(target));
    Action::Call(Box::new(Call { what, path, target, number: None, compat: false }))
}

fn touch(deed: Deed, path: &str, unknown: bool) -> Action {
    Action::Touch(Box::new(Touch {
        deed,
        place: Place::Log,
        path: Bytes::from(path),
        before: Some(100),
        after: Some(3),
        count: 1,
        writers: None,
        unknown,
    }))
}

#[test]
fn the_history_tells_who_did_what_to_which_file_since_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path()).unwrap();
    for event in [
        event("2026-11-20T10:00:00Z", 9, call(What::Chmod, "/tmp/old", "")),
        event("2026-11-20T13:00:00Z", 9, call(What::Chmod, "/tmp/.x/a", "")),
        event("2026-11-20T13:00:01Z", 9, call(What::Rename, "/tmp/.x/a", "/tmp/.x/b")),
        event("2026-11-20T13:00:02Z", 8, call(What::Unlink, "relative", "")),
        event("2026-11-20T13:00:03Z", 8, touch(Deed::Truncated, "/var/log/auth.log", true)),
        event("2026-11-20T13:00:04Z", 8, call(What::BecomeRoot, "", "")),
    ] {
        writer.append(&event, Instant::now()).unwrap();
    }
    writer.seal_frame(Instant::now()).unwrap();
    let mut deeds = Deeds::new(HashSet::from([process(9)]));
    let since = "2026-11-20T12:00:00Z".parse().unwrap();
    deeds.read(folder.path(), since, Instant::now() + Duration::from_mins(1));
    assert_eq!((deeds.unread.len(), deeds.left_out), (0, 0));
    assert!(deeds.is_near(b"/tmp/.x/other") && !deeds.is_near(b"/var/log/x"));
    let renamed = deeds.take(b"/tmp/.x/b");
    assert_eq!(renamed[0].what, "renamed from /tmp/.x/a");
    assert!(deeds.by_family(&renamed));
    let first: Vec<String> = deeds.take(b"/tmp/.x/a").into_iter().map(|done| done.what).collect();
    assert_eq!(first, ["renamed to /tmp/.x/b", "made executable"]);
    let rest = deeds.rest();
    let (path, log) = rest.first_key_value().unwrap();
    assert_eq!((rest.len(), path.as_slice()), (1, &b"/var/log/auth.log"[..]));
    assert_eq!((log[0].what.as_str(), log[0].process), ("made shorter, from 100 to 3 bytes", None));
}

#[test]
fn what_is_too_much_is_counted() {
    let mut deeds = Deeds::new(HashSet::new());
    for _ in 0..DEEDS_MAX + 3 {
        deeds.apply(&event("2026-11-20T13:00:00Z", 9, call(What::Unlink, "/a", "")));
    }
    for number in 0..PATHS_MAX + 5 {
        deeds.apply(&event("2026-11-20T13:00:00Z", 9, call(What::Unlink, &format!("/b{number}"), "")));
    }
    assert_eq!((deeds.left_out, deeds.rest().len()), (3 + 6, PATHS_MAX));
}

#[test]
fn without_time_nothing_is_read_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path()).unwrap();
    writer.append(&event("2026-11-20T13:00:00Z", 9, call(What::Chmod, "/a", "")), Instant::now()).unwrap();
    writer.seal_frame(Instant::now()).unwrap();
    let mut deeds = Deeds::new(HashSet::new());
    deeds.read(folder.path(), Timestamp::MIN, Instant::now());
    assert_eq!(deeds.unread, ["1 older frames of the history were not read in the time"]);
    deeds.unread.clear();
    deeds.read(&folder.path().join("none"), Timestamp::MIN, Instant::now());
    assert_eq!(deeds.unread.len(), 1);
}
