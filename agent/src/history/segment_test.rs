use proptest::prelude::*;

use super::*;
use crate::event::{Action, BootId, Exit, ProcessId, Source};

fn exit(second: i64) -> Event {
    Event {
        time: Timestamp::from_second(second).unwrap(),
        source: Source::Probe { cpu: 0, seq: 1 },
        process: ProcessId { boot: BootId([1; 16]), pid: 7, start: 8 },
        action: Action::Exit(Exit { code: 0, signal: 9 }),
    }
}

fn all(folder: &Path) -> (Vec<Event>, Vec<End>) {
    let mut events = Vec::new();
    let ends = list(folder)
        .unwrap()
        .iter()
        .map(|segment| read_file(&segment.path, &mut |event| events.push(event)).unwrap())
        .collect();
    (events, ends)
}

#[test]
fn what_was_sealed_is_read_back_and_zstd_alone_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path()).unwrap();
    let now = Instant::now();
    for second in 0..100 {
        writer.append(&exit(second), now).unwrap();
    }
    assert_eq!(all(folder.path()).0.len(), 0, "the frame is still open");
    writer.tick(now + FRAME_AGE).unwrap();
    writer.append(&exit(100), now).unwrap();
    writer.seal_frame().unwrap();
    let (events, ends) = all(folder.path());
    assert_eq!(events, (0..=100).map(exit).collect::<Vec<_>>());
    assert_eq!(ends, [End { events: 101, bad_lines: 0, torn: false }]);
    let segment = &list(folder.path()).unwrap()[0];
    let plain = std::process::Command::new("zstd").args(["-dc"]).arg(&segment.path).output().unwrap();
    assert_eq!(String::from_utf8(plain.stdout).unwrap().lines().count(), 101);
}

#[test]
fn a_torn_tail_costs_its_frame_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path()).unwrap();
    for second in 0..2 {
        writer.append(&exit(second), Instant::now()).unwrap();
        writer.seal_frame().unwrap();
    }
    let path = list(folder.path()).unwrap()[0].path.clone();
    let whole = std::fs::read(&path).unwrap();
    for cut in whole.len() / 2 + 1..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (events, ends) = all(folder.path());
        // Without its last bytes, the checksum, a frame's content is still whole.
        let expected = if cut < whole.len() - 4 { vec![exit(0)] } else { vec![exit(0), exit(1)] };
        assert_eq!((events, ends[0].torn), (expected, true), "cut at {cut} of {}", whole.len());
    }
}

#[test]
fn a_new_writer_begins_a_new_segment_even_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut writer = Writer::new(folder.path()).unwrap();
        writer.append(&exit(5), Instant::now()).unwrap();
        writer.seal_frame().unwrap();
    }
    assert_eq!(all(folder.path()).1.len(), 3);
}

#[test]
fn retention_removes_the_oldest_by_age_and_by_bytes_but_never_the_open_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut newest = None;
    for second in [10, 20, 30, 40] {
        let mut writer = Writer::new(folder.path()).unwrap();
        writer.append(&exit(second), Instant::now()).unwrap();
        writer.seal_frame().unwrap();
        newest = Some(writer);
    }
    let writer = newest.unwrap();
    let at = |second| Timestamp::from_second(second).unwrap();
    assert_eq!(writer.retain(u64::MAX, at(10)).unwrap(), 0);
    assert_eq!(writer.retain(u64::MAX, at(25)).unwrap(), 1, "the segment of 20 may hold events up to 30");
    assert_eq!(writer.retain(0, at(0)).unwrap(), 2);
    let left: Vec<_> = list(folder.path()).unwrap().iter().map(|segment| segment.begins).collect();
    assert_eq!(left, [at(40)]);
}

#[test]
fn a_full_disk_loses_counted_events_and_keeps_what_stands_readable() {
    // /dev/full answers every write with ENOSPC.
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path()).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    writer.open = Some((full, PathBuf::from("/dev/full"), 0));
    writer.append(&exit(1), Instant::now()).unwrap();
    writer.append(&exit(2), Instant::now()).unwrap();
    let (lost, failure) = writer.seal_frame().unwrap_err();
    assert_eq!(lost, 2);
    assert!(failure.to_string().contains("cannot write the history /dev/full"), "{failure}");
    writer.append(&exit(3), Instant::now()).unwrap();
    writer.seal_frame().unwrap();
    assert_eq!(all(folder.path()).0, [exit(3)]);
}

#[test]
fn names_are_times_and_other_files_are_passed_over() {
    let time: Timestamp = "2026-11-20T14:03:27.000000009Z".parse().unwrap();
    assert_eq!(segment_name(time), "20261120T140327.000000009Z.jsonl.zst");
    assert_eq!(parse_name(&segment_name(time)), Some(time));
    for name in ["", "x.jsonl.zst", "20261120T140327Z.jsonl.zst", "20261320T140327.000000009Z.jsonl.zst"] {
        assert_eq!(parse_name(name), None, "{name}");
    }
}

#[test]
fn since_keeps_the_segment_that_spans_the_moment() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let segments = [10, 20, 30].map(|second| Segment { path: PathBuf::new(), begins: at(second), bytes: 0 });
    for (moment, expected) in [(5, 3), (10, 3), (15, 3), (20, 3), (21, 2), (99, 1)] {
        assert_eq!(since(&segments, at(moment)).len(), expected, "{moment}");
    }
    assert!(since(&[], at(1)).is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let mut frame = zstd::bulk::compress(&bytes, 1).unwrap();
        frame.extend_from_slice(&bytes);
        read(&bytes[..], &mut |_| {}).unwrap();
        read(&frame[..], &mut |_| {}).unwrap();
    }
}
