use std::time::Instant;

use super::*;
use crate::event::{Action, BootId, Exit, Fork, Image, Source};
use crate::history::compact;
use crate::history::writer::Writer;
use crate::text::Bytes;

const LIVES: u32 = 400;

fn id(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: u64::from(pid) }
}

fn at(second: u32) -> Timestamp {
    Timestamp::from_second(i64::from(second)).unwrap()
}

/// Process `n` is born in second `n` of process `n / 3`, runs `/bin/n`, and ends ten seconds later.
fn life(second: u32) -> Vec<Event> {
    let event = |pid, action| Event { time: at(second), source: Source::Scan, process: id(pid), action };
    let image = Image { executable: Bytes::from(&format!("/bin/p{second}")), ..Image::default() };
    let mut events = vec![
        event(second, Action::Fork(Fork { parent: Some(id(second / 3)), name: Bytes::from("sh") })),
        event(second, Action::Exec(Box::new(image))),
    ];
    if second > 10 {
        events.push(event(second - 10, Action::Exit(Exit { code: 1, signal: 0 })));
    }
    events
}

/// Forty segments of ten lives; all but the newest ones are compacted.
fn history(folder: &Path) -> Library {
    for segment in 0..LIVES / 10 {
        if segment == LIVES / 10 - 3 {
            compact::all(folder).unwrap();
        }
        let mut writer = Writer::new(folder).unwrap();
        for event in (1..=10).flat_map(|n| life(segment * 10 + n)) {
            writer.append(&event, Instant::now()).unwrap();
        }
        writer.seal_frame(Instant::now()).unwrap();
    }
    Library::open(folder, Timestamp::MIN).unwrap()
}

/// By the rule itself.
fn is_below(mut pid: u32, root: u32) -> bool {
    while pid > root {
        pid /= 3;
    }
    pid == root
}

#[test]
fn lineage_over_all_segments_is_the_same_as_by_the_rule() {
    let folder = tempfile::tempdir().unwrap();
    let library = history(folder.path());
    for root in [1, 2, 5, 17, 133, 390] {
        let found = library.descendants(&HashSet::from([id(root)]));
        let expected: HashSet<_> = (1..=LIVES).filter(|pid| is_below(*pid, root)).map(id).collect();
        assert_eq!(found, expected, "{root}");
    }
    let parents = library.ancestors(&HashSet::from([id(399)]));
    let line: Vec<u32> =
        std::iter::successors(Some(id(399)), |id| parents.get(id).copied()).map(|id| id.pid).collect();
    assert_eq!(line, [399, 133, 44, 14, 4, 1, 0]);
    assert_eq!(library.with_pid(44), HashSet::from([id(44)]));
}

#[test]
fn only_the_frames_concerned_are_read_and_they_hold_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let library = history(folder.path());
    let family = HashSet::from([id(44), id(399)]);
    let places = library.of(&family);
    assert_eq!(places.len(), 3, "44 ends in the segment after its birth; 399 has not ended");
    let mut events = Vec::new();
    for place in places {
        library.read(place, &|line| family.contains(&line.process), &mut |event| events.push(event)).unwrap();
    }
    let expected: Vec<_> =
        (1..=LIVES).flat_map(life).filter(|event| family.contains(&event.process)).collect();
    assert_eq!(events, expected);
}

#[test]
fn times_and_terms_narrow_it_down() {
    let folder = tempfile::tempdir().unwrap();
    let library = history(folder.path());
    assert_eq!(library.segments(), 40);
    assert_eq!(library.between(at(0), at(999)).len(), 40);
    assert_eq!(library.between(at(15), at(25)).len(), 2);
    assert!(library.between(at(500), at(999)).is_empty());
    let found = library.with(&[Term::name(b"/bin/p17"), Term::name(b"p399"), Term::name(b"p4000")]);
    let counts: Vec<_> = found.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 0]);
    assert!(library.span(found[0][0]).unwrap().0 == at(11));
}

#[test]
fn a_segment_that_is_compacted_meanwhile_is_still_read_and_a_wrong_index_is_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let library = history(folder.path());
    let newest = *library.between(at(0), at(999)).last().unwrap();
    compact::all(folder.path()).unwrap();
    let mut count = 0;
    library.read(newest, &|_| true, &mut |_| count += 1).unwrap();
    assert_eq!(count, 30);
    let all = segment::list(folder.path()).unwrap();
    std::fs::copy(all[1].index_path(), all[0].index_path()).unwrap();
    std::fs::write(all[2].index_path(), b"afterix\x01").unwrap();
    std::fs::write(&all[3].path, b"not a frame").unwrap();
    let again = Library::open(folder.path(), Timestamp::MIN).unwrap();
    assert_eq!(again.descendants(&HashSet::from([id(5)])), {
        let gone = |pid| (31..=40).contains(&pid);
        (1..=LIVES).filter(|pid| is_below(*pid, 5) && !gone(*pid)).map(id).collect()
    });
}
