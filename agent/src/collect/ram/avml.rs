//! AVML, version 2: the same header, a Snappy frame, and the frame's length.

use std::io::{self, Write};
use std::ops::Range;

use super::lime::header;

const MAGIC: u32 = 0x4c4d_5641;

/// A piece of memory that is compressed at once; a block is one of them, as in AVML's own images, or ...
pub(super) const PIECE: u64 = 16 << 20;
/// ... as many as it takes until it is shorter than the memory: volatility3 (2.28) looks for a frame in as many bytes as the
/// memory has, and hangs where a frame that does not compress is longer.
const BLOCK_MAX: u64 = 4 * PIECE;

const ZEROS: [u8; 4096] = [0; 4096];

/// A block in the making.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The memory that is in it.
    range: Range<u64>,
    /// Its frames.
    frames: Vec<u8>,
}

/// Whether there is nothing in `bytes`: AVML leaves such memory out.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

impl Block {
    pub(super) fn range(&self) -> &Range<u64> {
        &self.range
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds `bytes`, which stand at `range`, right behind what is in it.
    pub(super) fn add(&mut self, range: &Range<u64>, bytes: &[u8]) -> io::Result<()> {
        let start = if self.is_empty() { range.start } else { self.range.start };
        self.range = start..range.end;
        let mut frame = snap::write::FrameEncoder::new(&mut self.frames);
        frame.write_all(bytes)?;
        frame.flush()
    }

    /// Whether it can be ended: everybody can read it, or it is as large as it may be.
    pub(super) fn is_enough(&self) -> bool {
        let memory = self.range.end.saturating_sub(self.range.start);
        let frames = u64::try_from(self.frames.len()).unwrap_or(u64::MAX);
        frames < memory || memory >= BLOCK_MAX
    }

    /// The block as it is stored: header, frames, their length.
    pub(super) fn parts(&self) -> (Vec<u8>, &[u8], [u8; 8]) {
        let length = u64::try_from(self.frames.len()).unwrap_or(u64::MAX);
        (header(MAGIC, 2, &self.range), &self.frames, length.to_le_bytes())
    }

    /// Empties it, and keeps its memory, so that no copies of what was read lie about in what is still to be read.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn block(range: &Range<u64>, bytes: &[u8]) -> Vec<u8> {
        let mut block = Block::default();
        block.add(&(0..7), b"earlier").unwrap();
        block.clear();
        block.add(range, bytes).unwrap();
        let (head, frames, length) = block.parts();
        [&head, frames, &length].concat()
    }

    #[test]
    fn a_block_is_byte_for_byte_what_the_format_says() {
        let found = block(&(0x1000..0x1005), b"abcde");
        // A stream identifier, and one chunk that is not compressed, with the masked CRC-32C of `abcde`.
        let expected: [&[u8]; 5] = [
            b"AVML\x02\0\0\0\0\x10\0\0\0\0\0\0\x04\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\xff\x06\0\0sNaPpY",
            b"\x01\x09\0\0",
            &masked(0xc450_d697).to_le_bytes(),
            b"abcde",
        ];
        let expected = [&expected.concat()[..], &23_u64.to_le_bytes()].concat();
        assert_eq!(found, expected);
    }

    /// As the framing format says.
    fn masked(crc: u32) -> u32 {
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    }

    #[test]
    fn only_zeros_are_zeros() {
        assert!(is_zero(&[0; 10_000]) && is_zero(&[]));
        assert!(!is_zero(&[&[0; 4095][..], &[1]].concat()) && !is_zero(&[&[0; 8192][..], &[1]].concat()));
    }

    #[test]
    fn what_does_not_compress_is_joined_with_what_follows_but_not_for_ever() {
        let noise = |seed: u64| -> Vec<u8> {
            let mut state = seed | 1;
            std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .take(1 << 16)
            .collect()
        };
        let mut block = Block::default();
        block.add(&(0..0x1_0000), &noise(1)).unwrap();
        assert!(!block.is_enough());
        block.add(&(0x1_0000..0x2_0000), &vec![0; 0x1_0000]).unwrap();
        assert!(block.is_enough() && *block.range() == (0..0x2_0000));
        let mut back = Vec::new();
        snap::read::FrameDecoder::new(block.parts().1).read_to_end(&mut back).unwrap();
        assert!(back[..0x1_0000] == noise(1) && is_zero(&back[0x1_0000..]) && back.len() == 0x2_0000);
        block.clear();
        block.add(&(0..BLOCK_MAX), &noise(1).repeat(2)).unwrap();
        assert!(block.is_enough());
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(mut bytes: Vec<u8>, repeat in 1_usize..2000) {
            bytes.push(1);
            let bytes = bytes.repeat(repeat);
            let block = block(&(0..u64::try_from(bytes.len()).unwrap()), &bytes);
            let frame = &block[32..block.len() - 8];
            prop_assert_eq!(&block[block.len() - 8..], &u64::try_from(frame.len()).unwrap().to_le_bytes());
            let mut back = Vec::new();
            snap::read::FrameDecoder::new(frame).read_to_end(&mut back).unwrap();
            prop_assert!(back == bytes);
        }
    }
}
