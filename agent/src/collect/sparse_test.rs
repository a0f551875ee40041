use proptest::prelude::*;

use super::*;

/// A file of `size` bytes with these bytes at these offsets.
fn file(size: u64, written: &[(u64, &[u8])]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    for (offset, bytes) in written {
        file.write_all_at(bytes, *offset).unwrap();
    }
    file
}

fn content(file: File, limit: u64) -> (Vec<u8>, Layout) {
    let size = file.metadata().unwrap().len();
    let layout = Layout::new(size, &extents(&file, size), limit);
    let mut bytes = Vec::new();
    layout.clone().read(file).read_to_end(&mut bytes).unwrap();
    (bytes, layout)
}

#[test]
fn small_holes_are_the_zeros_they_read_as() {
    let (bytes, layout) = content(file(1 << 20, &[(300_000, b"middle"), (1_048_570, b"at end")]), u64::MAX);
    assert_eq!((bytes.len(), layout.packed), (1 << 20, None));
    assert_eq!(bytes.get(300_000..300_006), Some(&b"middle"[..]));
    assert!(bytes.ends_with(b"at end"));
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 12);
}

#[test]
fn of_a_file_with_large_holes_the_data_are_kept_and_where_they_belong() {
    let size = (1 << 40) + 7;
    let (bytes, layout) =
        content(file(size, &[(0, b"first"), (1 << 33, b"second"), (1 << 40, b"last!!!")]), u64::MAX);
    let extents = layout.packed.unwrap();
    assert_eq!((layout.bytes, extents.len()), (u64::try_from(bytes.len()).unwrap(), 3), "{extents:?}");
    let mut at = 0;
    for (extent, expected) in extents.iter().zip([(0, "first"), (1 << 33, "second"), (1 << 40, "last!!!")]) {
        assert_eq!(extent.offset, expected.0);
        assert!(bytes[at..].starts_with(expected.1.as_bytes()), "{extents:?}");
        at += usize::try_from(extent.length).unwrap();
    }
}

#[test]
fn an_empty_file_and_one_that_is_nothing_but_a_hole() {
    assert_eq!(content(file(0, &[]), u64::MAX).0, b"");
    let (bytes, layout) = content(file(HOLES_MAX + 4096, &[]), u64::MAX);
    assert_eq!((bytes.len(), layout.bytes, layout.packed), (0, 0, Some(Vec::new())));
}

#[test]
fn a_limit_cuts_and_what_was_wanted_is_known() {
    let (bytes, layout) = content(file(10_000, &[(0, &[7; 10_000])]), 4097);
    assert_eq!((bytes.len(), layout.bytes, layout.wanted), (4097, 4097, 10_000));
    let (bytes, layout) = content(file(1 << 40, &[(1 << 39, &[7; 8192])]), 5000);
    assert_eq!((bytes.len(), layout.wanted >= 8192), (5000, true));
    assert_eq!(layout.packed.unwrap().iter().map(|extent| extent.length).sum::<u64>(), 5000);
}

#[test]
fn a_file_that_becomes_shorter_ends_early() {
    let shrinking = file(8192, &[(0, &[1; 8192])]);
    let layout = Layout::new(8192, &extents(&shrinking, 8192), u64::MAX);
    shrinking.set_len(100).unwrap();
    let mut bytes = Vec::new();
    layout.read(shrinking).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [1; 100]);
}

proptest! {
    /// Whatever the kernel says: never more than the limit, and what is there is what was wanted up to it.
    #[test]
    fn any_extents_are_laid_out_within_the_limit(
        parts in proptest::collection::vec((0..1_u64 << 30, 0..1_u64 << 30), 0..20),
        tail in 0..1_u64 << 30,
        limit in 0..1_u64 << 33,
    ) {
        let mut at = 0;
        let mut extents = Vec::new();
        for (gap, length) in parts {
            extents.push(Extent { offset: at + gap, length });
            at += gap + length;
        }
        let layout = Layout::new(at + tail, &extents, limit);
        let sum: u64 = layout.pieces.iter().map(|piece| match piece {
            Piece::Data(extent) => extent.length,
            Piece::Zeros(length) => *length,
        }).sum();
        prop_assert_eq!(sum, layout.bytes);
        prop_assert_eq!(layout.bytes, layout.wanted.min(limit));
        let holes = at + tail - extents.iter().map(|extent| extent.length).sum::<u64>();
        prop_assert_eq!(layout.packed.is_some(), holes > HOLES_MAX);
    }

    #[test]
    fn a_file_with_few_holes_is_read_as_it_is(parts in proptest::collection::vec((0..100_000_u64, 1..9000_usize), 0..6)) {
        let mut expected = Vec::new();
        let sparse = tempfile::tempfile().unwrap();
        for (gap, length) in parts {
            expected.resize(expected.len() + usize::try_from(gap).unwrap(), 0);
            sparse.write_all_at(&vec![9; length], u64::try_from(expected.len()).unwrap()).unwrap();
            expected.resize(expected.len() + length, 9);
        }
        prop_assert_eq!(content(sparse, u64::MAX).0, expected);
    }
}
