use super::*;
use crate::event::{Action, BootId, Exit, ProcessId, Source};
use crate::history::segment::{End, list, read_file};

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
    writer.seal_frame(Instant::now()).unwrap();
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
        writer.seal_frame(Instant::now()).unwrap();
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
        writer.seal_frame(Instant::now()).unwrap();
    }
    assert_eq!(all(folder.path()).1.len(), 3);
}

#[test]
fn a_full_disk_loses_counted_events_and_keeps_what_stands_readable() {
    // /dev/full answers every write with ENOSPC.
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path()).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let file = Flock::lock(full, FlockArg::LockExclusiveNonblock).unwrap();
    writer.open = Some(Open { file, path: PathBuf::from("/dev/full"), written: 1, begun: None });
    writer.append(&exit(1), Instant::now()).unwrap();
    writer.append(&exit(2), Instant::now()).unwrap();
    let (lost, failure) = writer.seal_frame(Instant::now()).unwrap_err();
    assert_eq!(lost, 2);
    assert!(failure.to_string().contains("cannot write the history /dev/full"), "{failure}");
    writer.append(&exit(3), Instant::now()).unwrap();
    writer.seal_frame(Instant::now()).unwrap();
    assert_eq!(all(folder.path()).0, [exit(3)]);
}
