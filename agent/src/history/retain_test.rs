use std::time::Instant;

use super::*;
use crate::event::{Action, BootId, Event, Exit, ProcessId, Source};
use crate::history::segment::list;

fn exit(second: i64) -> Event {
    Event {
        time: Timestamp::from_second(second).unwrap(),
        source: Source::Probe { cpu: 0, seq: 1 },
        process: ProcessId { boot: BootId([1; 16]), pid: 7, start: 8 },
        action: Action::Exit(Exit { code: 0, signal: 9 }),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A segment for each of these seconds; the last one is still open.
fn segments(folder: &Path, seconds: &[i64]) -> Writer {
    let mut newest = None;
    for second in seconds {
        let mut writer = Writer::new(folder).unwrap();
        writer.append(&exit(*second), Instant::now()).unwrap();
        writer.seal_frame(Instant::now()).unwrap();
        newest = Some(writer);
    }
    newest.unwrap()
}

fn left(folder: &Path) -> Vec<i64> {
    list(folder).unwrap().iter().map(|segment| segment.begins.as_second()).collect()
}

#[test]
fn the_oldest_go_by_age_and_by_bytes_but_never_the_open_one() {
    let folder = tempfile::tempdir().unwrap();
    let writer = segments(folder.path(), &[10, 20, 30, 40]);
    let removed = |bytes, oldest| writer.retain(bytes, at(oldest)).unwrap().removed;
    assert_eq!(removed(u64::MAX, 10), 0);
    assert_eq!(removed(u64::MAX, 25), 1, "the segment of 20 may hold events up to 30");
    assert_eq!(removed(0, 0), 2);
    assert_eq!(left(folder.path()), [40]);
}

#[test]
fn what_a_capture_holds_stays_until_it_ends_and_the_rest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let writer = segments(folder.path(), &[10, 20, 30, 40, 50]);
    // Events from 25 on are wanted: the segment of 20 may have some.
    let hold = Hold::take(folder.path(), at(25)).unwrap();
    let other = Hold::take(folder.path(), at(35)).unwrap();
    assert_eq!(writer.retain(0, at(0)).unwrap(), Retained { removed: 1, held: 3 });
    assert_eq!(left(folder.path()), [20, 30, 40, 50]);
    drop(hold);
    assert_eq!(writer.retain(0, at(0)).unwrap(), Retained { removed: 1, held: 2 });
    assert_eq!(left(folder.path()), [30, 40, 50]);
    drop(other);
    assert_eq!(writer.retain(0, at(0)).unwrap(), Retained { removed: 2, held: 0 });
    assert_eq!(left(folder.path()), [50]);
}

#[test]
fn indexes_count_and_go_with_their_segments() {
    let folder = tempfile::tempdir().unwrap();
    let writer = segments(folder.path(), &[10, 20]);
    let all = list(folder.path()).unwrap();
    let bytes: u64 = all.iter().map(|segment| segment.bytes).sum();
    std::fs::write(all[0].index_path(), [0; 100]).unwrap();
    assert_eq!(writer.retain(bytes + 100, at(0)).unwrap().removed, 0);
    assert_eq!(writer.retain(bytes + 99, at(0)).unwrap().removed, 1);
    assert!(!all[0].index_path().exists());
}

#[test]
fn after_a_step_of_the_clock_the_open_segment_stays_though_it_is_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let writer = segments(folder.path(), &[30, 40, 10]);
    assert_eq!(writer.retain(0, at(0)).unwrap().removed, 1);
    assert_eq!(left(folder.path()), [10, 40]);
}
