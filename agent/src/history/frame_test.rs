use proptest::prelude::*;

use super::*;

fn packed(text: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(text).unwrap()
}

#[test]
fn whole_frames_are_found_and_the_torn_one_gives_its_whole_lines() {
    let (first, second) = (packed(b"a\n"), packed(b"b\nc\n"));
    let both = [first.clone(), second].concat();
    assert_eq!(frames(&both).count(), 2);
    let cut = &both[..both.len() - 1];
    assert_eq!(frames(cut).map(|range| range.end).collect::<Vec<_>>(), [first.len()]);
    assert_eq!(plain(&first).unwrap(), b"a\n");
    assert_eq!(torn(&cut[first.len()..]), b"b\nc\n");
    assert_eq!(torn(&packed(b"b\nc")), b"b\n");
}

#[test]
fn what_changed_or_says_that_it_is_huge_is_refused() {
    let mut frame = packed(&b"some text ".repeat(100));
    let last = frame.len() - 1;
    frame[last] ^= 1;
    assert!(plain(&frame).is_err());
    let huge = zstd::bulk::compress(&vec![0; PLAIN_MAX + 1], 1).unwrap();
    assert!(plain(&huge).unwrap_err().to_string().contains("none of ours"));
    assert!(torn(&huge).len() <= PLAIN_MAX);
}

#[test]
fn the_compacted_frame_is_an_ordinary_one() {
    let text = b"{\"a\":1}\n".repeat(1000);
    let frame = compressor().unwrap().compress(&text).unwrap();
    assert_eq!(plain(&frame).unwrap(), text);
    assert_eq!(zstd::decode_all(&frame[..]).unwrap(), text);
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_a_panic(mut bytes: Vec<u8>, text: Vec<u8>, at: usize, to: u8) {
        for range in frames(&bytes) {
            drop(plain(&bytes[range]));
        }
        drop((plain(&bytes), torn(&bytes)));
        bytes = packed(&text);
        let at = at % bytes.len();
        bytes[at] = to;
        drop((plain(&bytes), torn(&bytes)));
    }
}
