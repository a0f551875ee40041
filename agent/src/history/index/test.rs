use proptest::prelude::*;

use super::column::{Reader, put, put_step};
use super::*;
use crate::event::{Action, BootId, Event, Exit, Flow, Fork, Image, Source};
use crate::history::segment::Segment;
use crate::text::Bytes;

fn id(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([7; 16]), pid, start: u64::from(pid) + 1000 }
}

fn event(second: i64, pid: u32, action: Action) -> Event {
    let time = Timestamp::from_second(second).unwrap();
    Event { time, source: Source::Scan, process: id(pid), action }
}

fn fork(second: i64, parent: u32, pid: u32) -> Event {
    event(second, pid, Action::Fork(Fork { parent: Some(id(parent)), name: Bytes::from("sh") }))
}

fn exec(second: i64, pid: u32) -> Event {
    let cgroup = Bytes::from("/docker/7f3a9c1e5b2d7f3a9c1e5b2d");
    let image = Image { executable: Bytes::from("/tmp/a b/evil"), uid: 33, cgroup, ..Image::default() };
    event(second, pid, Action::Exec(Box::new(image)))
}

fn frame(events: &[Event]) -> (Vec<u8>, Vec<u8>) {
    let mut plain = Vec::new();
    for event in events {
        serde_json::to_writer(&mut plain, event).unwrap();
        plain.push(b'\n');
    }
    (crate::history::frame::compressor().unwrap().compress(&plain).unwrap(), plain)
}

fn sample() -> (Index, Vec<u8>) {
    let flow = Flow { local: "10.0.0.1:1".parse().unwrap(), remote: "203.0.113.45:4444".parse().unwrap() };
    let frames = [
        frame(&[fork(10, 1, 20), exec(11, 20), fork(12, 20, 21)]),
        frame(&[
            event(13, 21, Action::Connect(flow)),
            fork(14, 21, 22),
            event(15, 20, Action::Exit(Exit { code: 0, signal: 9 })),
        ]),
    ];
    let mut builder = Builder::default();
    let mut segment = Vec::new();
    for (packed, plain) in &frames {
        builder.frame(packed, plain);
        segment.extend_from_slice(packed);
    }
    (builder.finish().unwrap(), segment)
}

/// A segment and its index on disk.
fn stored(folder: &std::path::Path) -> Segment {
    let (index, bytes) = sample();
    let path = folder.join("20261120T140327.000000009Z.jsonl.zst");
    std::fs::write(&path, &bytes).unwrap();
    let bytes = u64::try_from(bytes.len()).unwrap();
    let segment = Segment { path, begins: Timestamp::UNIX_EPOCH, bytes };
    write(&segment.index_path(), &index).unwrap();
    segment
}

#[test]
fn it_says_who_was_born_where_and_which_frames_have_their_events() {
    let (index, _) = sample();
    let births = index.births();
    assert_eq!(
        births.iter().map(|birth| (birth.id, birth.frame)).collect::<Vec<_>>(),
        [(id(20), 0), (id(21), 0), (id(22), 1)]
    );
    let parents: Vec<_> =
        births.iter().map(|birth| index.parents()[usize::try_from(birth.parent.unwrap()).unwrap()]).collect();
    assert_eq!(parents, [id(1), id(20), id(21)]);
    assert_eq!(index.guests(), [(1, id(20)), (1, id(21))]);
    for (pid, frames) in [(20, vec![0, 1]), (21, vec![0, 1]), (22, vec![1]), (1, vec![])] {
        assert_eq!(index.of(&HashSet::from([id(pid)])), frames, "{pid}");
    }
    assert_eq!(index.frames[1].events, 3);
    assert_eq!(index.frames[1].first, Timestamp::from_second(13).unwrap());
}

#[test]
fn terms_lead_to_their_frames() {
    let (index, _) = sample();
    let terms = [
        Term::name(b"/elsewhere/evil"),
        Term::command(b"/tmp/a --flag"),
        Term::user(33),
        Term::container("7f3a9c1e5b2d").unwrap(),
        Term::remote("::ffff:203.0.113.45".parse().unwrap()),
        Term::name(b"good"),
    ];
    assert_eq!(index.with(&terms), [vec![0], vec![0], vec![0], vec![0], vec![1], vec![]]);
    assert_eq!(Term::container("7f3a"), None);
    assert_eq!(Term::short(b"a-name-of-more-than-15"), Term::name(b"a-name-of-more-"));
}

#[test]
fn it_is_believed_only_beside_its_own_segment() {
    let folder = tempfile::tempdir().unwrap();
    let segment = stored(folder.path());
    assert_eq!(open(&segment).unwrap(), sample().0);
    let bytes = std::fs::read(&segment.path).unwrap();
    let mut other = bytes.clone();
    other[bytes.len() - 2] ^= 1;
    for changed in [&bytes[1..], &bytes[..bytes.len() - 1], &other[..], &[]] {
        std::fs::write(&segment.path, changed).unwrap();
        assert!(matches!(open(&segment), Err(Error::Other)));
    }
    std::fs::write(&segment.path, &bytes).unwrap();
    std::fs::remove_file(segment.index_path()).unwrap();
    assert!(matches!(open(&segment), Err(Error::Io(_))));
}

#[test]
fn a_changed_or_cut_index_is_refused_at_every_byte() {
    let bytes = file::encode(&sample().0).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(file::decode(&changed).is_none(), "byte {at}");
        assert!(file::decode(&bytes[..at]).is_none(), "cut at {at}");
    }
}

/// With a checksum that is right: whoever can write here could make one.
fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(&content);
    content.extend(&digest[..8]);
    content
}

fn walk(index: &Index) {
    drop((index.births(), index.guests(), index.with(&[Term::user(0)]), index.of(&HashSet::from([id(1)]))));
}

proptest! {
    #[test]
    fn hostile_bytes_make_no_panic(content: Vec<u8>, at: usize, to: u8) {
        drop(file::decode(&content));
        drop(file::decode(&sealed([&b"afterix\x01"[..], &content].concat())));
        let bytes = file::encode(&sample().0).unwrap();
        let mut changed = bytes[..bytes.len() - 8].to_vec();
        let at = at % changed.len();
        changed[at] = to;
        if let Some(index) = file::decode(&sealed(changed)) {
            walk(&index);
        }
    }

    #[test]
    fn hostile_columns_make_no_panic(column: Vec<u8>, frames in 0_usize..5) {
        let packed = column::Packed::pack(&column, &[BootId([7; 16])]).unwrap();
        for birth in file::births(&packed, 3, frames) {
            prop_assert!(birth.parent.is_none_or(|place| place < 3) && usize::try_from(birth.frame).unwrap() < frames);
        }
        drop((file::guests(&packed, frames), file::with(&packed, &[Term::user(0)], frames)));
    }

    #[test]
    fn hostile_lines_make_no_panic(lines: Vec<u8>) {
        let mut builder = Builder::default();
        builder.frame(b"", &lines);
        walk(&builder.finish().unwrap());
    }

    #[test]
    fn numbers_come_back(from: u64, to: u64) {
        let mut column = Vec::new();
        put(&mut column, to);
        put_step(&mut column, from, to);
        let mut reader = Reader(&column);
        prop_assert_eq!(reader.number(), Some(to));
        prop_assert_eq!(reader.step(from), Some(to));
        prop_assert_eq!(reader.number(), None);
    }
}
