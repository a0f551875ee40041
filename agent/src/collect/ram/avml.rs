//! AVML, version 2: the same header, a Snappy frame, and the frame's length.

use std::io::{self, Write};
use std::ops::Range;

use super::lime::header;

const MAGIC: u32 = 0x4c4d_5641;

/// A block has at most so much memory, as in AVML's own images.
pub(super) const BLOCK: u64 = 16 << 20;

const ZEROS: [u8; 4096] = [0; 4096];

/// Makes `block` that of `bytes`, which stand at `range`; false when all are zeros: AVML leaves them out.
pub(super) fn encode(range: &Range<u64>, bytes: &[u8], block: &mut Vec<u8>) -> io::Result<bool> {
    block.clear();
    if bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk)) {
        return Ok(false);
    }
    block.extend(header(MAGIC, 2, range));
    let head = block.len();
    let mut frame = snap::write::FrameEncoder::new(&mut *block);
    frame.write_all(bytes)?;
    frame.flush()?;
    drop(frame);
    let length = u64::try_from(block.len().saturating_sub(head)).unwrap_or(u64::MAX);
    block.extend(length.to_le_bytes());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn block(range: &Range<u64>, bytes: &[u8]) -> Option<Vec<u8>> {
        // What an earlier block has left goes.
        let mut block = vec![9; 3];
        encode(range, bytes, &mut block).unwrap().then_some(block)
    }

    #[test]
    fn a_block_is_byte_for_byte_what_the_format_says() {
        let found = block(&(0x1000..0x1005), b"abcde").unwrap();
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
    fn zeros_are_left_out() {
        assert_eq!(block(&(0..4096), &[0; 4096]), None);
        assert!(block(&(0..4096), &[&[0; 4095][..], &[1]].concat()).is_some());
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(mut bytes: Vec<u8>, repeat in 1_usize..2000) {
            bytes.push(1);
            let bytes = bytes.repeat(repeat);
            let block = block(&(0..u64::try_from(bytes.len()).unwrap()), &bytes).unwrap();
            let frame = &block[32..block.len() - 8];
            prop_assert_eq!(&block[block.len() - 8..], &u64::try_from(frame.len()).unwrap().to_le_bytes());
            let mut back = Vec::new();
            snap::read::FrameDecoder::new(frame).read_to_end(&mut back).unwrap();
            prop_assert!(back == bytes);
        }
    }
}
