use proptest::prelude::*;

use super::*;

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
