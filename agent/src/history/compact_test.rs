use std::time::Instant;

use super::*;
use crate::event::{Action, BootId, Event, Exit, ProcessId, Source};
use crate::history::writer::Writer;

fn exit(second: i64, pid: u32) -> Event {
    Event {
        time: jiff::Timestamp::from_second(second).unwrap(),
        source: Source::Probe { cpu: 0, seq: 1 },
        process: ProcessId { boot: BootId([1; 16]), pid, start: 8 },
        action: Action::Exit(Exit { code: 0, signal: 9 }),
    }
}

/// A segment of 50 frames with 20 events each.
fn segment(folder: &Path) -> Segment {
    let mut writer = Writer::new(folder).unwrap();
    for frame in 0..50 {
        (0..20).for_each(|pid| writer.append(&exit(frame, pid), Instant::now()).unwrap());
        writer.seal_frame(Instant::now()).unwrap();
    }
    writer.close().unwrap();
    segment::list(folder).unwrap().remove(0)
}

fn plain(segment: &Segment) -> Vec<u8> {
    zstd::decode_all(File::open(&segment.path).unwrap()).unwrap()
}

#[test]
fn every_line_stays_as_it_was_in_fewer_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let old = segment(folder.path());
    let lines = plain(&old);
    let done = all(folder.path()).unwrap();
    assert_eq!((done.segments, done.before), (1, old.bytes));
    assert_eq!(plain(&old), lines);
    assert!(done.after < old.bytes / 3, "{done:?}");
    let segment = segment::list(folder.path()).unwrap().remove(0);
    assert_eq!(index::open(&segment).unwrap().frames[0].events, 1000);
    assert_eq!(all(folder.path()).unwrap(), Done::default(), "there is nothing left to do");
}

#[test]
fn what_is_being_written_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path()).unwrap();
    writer.append(&exit(1, 1), Instant::now()).unwrap();
    writer.seal_frame(Instant::now()).unwrap();
    assert_eq!(all(folder.path()).unwrap(), Done::default());
    drop(writer);
    assert_eq!(all(folder.path()).unwrap().segments, 1);
}

#[test]
fn a_torn_tail_gives_its_whole_lines_and_damage_in_the_middle_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let segment = segment(folder.path());
    let whole = std::fs::read(&segment.path).unwrap();
    let lines = plain(&segment);
    // Without its checksum the last frame is torn, and its content still whole.
    std::fs::write(&segment.path, &whole[..whole.len() - 2]).unwrap();
    assert_eq!(all(folder.path()).unwrap().segments, 1);
    assert_eq!(plain(&segment), lines);

    std::fs::remove_file(segment.index_path()).unwrap();
    let mut damaged = whole.repeat(1 + TORN_MAX / whole.len() + 1);
    damaged[10] ^= 0xff;
    std::fs::write(&segment.path, &damaged).unwrap();
    assert_eq!(all(folder.path()).unwrap(), Done::default());
    assert_eq!(std::fs::read(&segment.path).unwrap(), damaged);
}

#[test]
fn wherever_it_was_interrupted_it_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let segment = segment(folder.path());
    let (old, lines) = (std::fs::read(&segment.path).unwrap(), plain(&segment));
    all(folder.path()).unwrap();
    let (new, index) = (std::fs::read(&segment.path).unwrap(), std::fs::read(segment.index_path()).unwrap());
    let fresh = segment.path.with_extension("new");
    let fresh_index = segment.index_path().with_extension("index.new");
    // Killed while it wrote the segment, while it wrote the index, between the renames; and an index without a segment.
    for (now, its_index, left) in [
        (&old, None, (&new[..9], &[][..])),
        (&old, None, (&new[..], &index[..9])),
        (&new, None, (&[][..], &index[..])),
        (&old, Some(&index), (&[][..], &[][..])),
    ] {
        std::fs::write(&segment.path, now).unwrap();
        drop(std::fs::remove_file(segment.index_path()));
        if let Some(index) = its_index {
            std::fs::write(segment.index_path(), index).unwrap();
        }
        std::fs::write(&fresh, left.0).unwrap();
        std::fs::write(&fresh_index, left.1).unwrap();
        let orphan = folder.path().join("20200101T000000.000000000Z.index");
        std::fs::write(&orphan, &index).unwrap();
        assert_eq!(all(folder.path()).unwrap().segments, 1);
        assert_eq!(plain(&segment), lines);
        assert_eq!(std::fs::read(segment.index_path()).unwrap(), index);
        assert!(!fresh.exists() && !fresh_index.exists() && !orphan.exists());
    }
}
