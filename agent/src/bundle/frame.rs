//! zstd frames: made one by one, and read one by one with every length checked before memory is taken.

use std::io::{self, Read};

use super::layout::{self, FRAME_FILE_MAX, FRAME_MAX, TRAILER};

/// zstd's own default: the best ratio for its speed on logs.
const LEVEL: i32 = 3;
/// On memory more than twice as fast, and a sixth larger.
const FAST_LEVEL: i32 = -1;
/// Again a fifth faster, and hardly larger.
const HASTY_LEVEL: i32 = -4;
/// Hardly dearer than to write all of it.
const URGENT_LEVEL: i32 = -6;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// RFC 8878, section 3.1.1.2.4.
const BLOCK_MAX: usize = 128 << 10;

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot read the bundle: {0}")]
    Read(#[from] io::Error),
    /// It does not begin like a bundle.
    #[error("this is not a bundle: it does not begin with a zstd frame")]
    NotABundle,
    /// It ends too early; what is before `at` (file offset) is whole.
    #[error("the file ends early: it is whole up to byte {at}")]
    Torn {
        /// End of the last whole frame.
        at: u64,
    },
    /// A rule of the format is broken.
    #[error("{0}")]
    Tampered(String),
}

/// How much work a frame is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// As small as it becomes in reasonable time.
    #[default]
    Small,
    /// Much comes, and somebody waits for it: process memory.
    Fast,
    /// The same, when others wait for their turn.
    Hasty,
    /// The first of it, which is to be on the disk as soon as a plain copy would.
    Urgent,
}

/// Makes frames.
pub struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    effort: Effort,
}

impl Compressor {
    /// With content size and checksum.
    pub fn new() -> io::Result<Self> {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        zstd.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        zstd.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true))?;
        Ok(Self { zstd, effort: Effort::Small })
    }

    /// One frame that holds `content` (at most [`FRAME_MAX`]).
    pub fn frame(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        self.frame_into(content, Effort::Small, Vec::new())
    }

    /// The same, with so much effort, in the memory of `frame`.
    pub fn frame_into(&mut self, content: &[u8], effort: Effort, mut frame: Vec<u8>) -> io::Result<Vec<u8>> {
        if effort != self.effort {
            self.zstd.set_compression_level(match effort {
                Effort::Small => LEVEL,
                Effort::Fast => FAST_LEVEL,
                Effort::Hasty => HASTY_LEVEL,
                Effort::Urgent => URGENT_LEVEL,
            })?;
            self.effort = effort;
        }
        frame.clear();
        frame.reserve_exact(zstd::zstd_safe::compress_bound(content.len()));
        self.zstd.compress_to_buffer(content, &mut frame)?;
        Ok(frame)
    }
}

/// Reads frames, and their content as one stream.
pub struct Frames<R> {
    source: R,
    decompressor: zstd::bulk::Decompressor<'static>,
    frame: Vec<u8>,
    content: Vec<u8>,
    used: usize,
    start: u64,
    end: u64,
    trailer: Option<u64>,
    /// Whether the last frame asked for could be read.
    whole: bool,
}

impl<R: Read> Frames<R> {
    /// Reads from `source`, which stands at the beginning of a frame, at file offset `at`.
    pub fn new(source: R, at: u64) -> io::Result<Self> {
        Ok(Self {
            source,
            decompressor: zstd::bulk::Decompressor::new()?,
            frame: Vec::new(),
            content: Vec::new(),
            used: 0,
            start: at,
            end: at,
            trailer: None,
            whole: true,
        })
    }

    /// File offset of the frame that holds the next byte, and the bytes of its content before that one.
    pub fn position(&mut self) -> Result<(u64, u64), Fault> {
        self.fill()?;
        Ok((self.start, u64::try_from(self.used).unwrap_or(u64::MAX)))
    }

    /// End of the last frame that was read, as a file offset.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// File offset of the last frame when that one is whole: a fault then lies in its content.
    pub fn broken_tar(&self) -> Option<u64> {
        self.whole.then_some(self.start)
    }

    /// Where the trailer says that the tag files begin, once it has been read.
    pub fn trailer(&self) -> Option<u64> {
        self.trailer
    }

    /// As many bytes as there are in this frame, `buffer.len()` at most; none after the trailer.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.fill()?;
        let rest = self.content.get(self.used..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.used = self.used.saturating_add(count);
        Ok(count)
    }

    /// The next bytes without copying, at most `limit`; empty after the trailer.
    pub fn take(&mut self, limit: u64) -> Result<&[u8], Fault> {
        self.fill()?;
        let rest = self.content.len().saturating_sub(self.used);
        let count = usize::try_from(limit).map_or(rest, |limit| limit.min(rest));
        let from = self.used;
        self.used = self.used.saturating_add(count);
        Ok(self.content.get(from..self.used).unwrap_or_default())
    }

    fn fill(&mut self) -> Result<(), Fault> {
        while self.used >= self.content.len() && self.trailer.is_none() {
            self.next_frame()?;
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Result<(), Fault> {
        self.start = self.end;
        self.whole = false;
        self.frame.clear();
        self.want(4)?;
        match self.frame.first_chunk::<4>() {
            Some(&MAGIC) => {}
            Some([0x5a, 0x2a, 0x4d, 0x18]) => return self.read_trailer(),
            _ if self.start == 0 => return Err(Fault::NotABundle),
            _ => return Err(self.tampered("does not begin like a frame")),
        }
        let size = self.read_head()?;
        self.read_blocks()?;
        self.content.clear();
        self.content.reserve(size);
        self.used = 0;
        let done = self.decompressor.decompress_to_buffer(&self.frame, &mut self.content);
        if !done.is_ok_and(|count| count == size) {
            self.content.clear();
            return Err(self.tampered("does not decompress, or its checksum is wrong"));
        }
        self.end = self.end.saturating_add(u64::try_from(self.frame.len()).unwrap_or(u64::MAX));
        self.whole = true;
        Ok(())
    }

    /// The frame header (RFC 8878, section 3.1.1.1); returns the content size.
    fn read_head(&mut self) -> Result<usize, Fault> {
        let descriptor = self.want(1)?.first().copied().unwrap_or(0);
        let single = descriptor & 0x20 != 0;
        if descriptor & 0x04 == 0 || descriptor & 0x0b != 0 {
            return Err(self.tampered("has no checksum, or names a dictionary"));
        }
        if !single {
            self.want(1)?;
        }
        let width = match (descriptor >> 6, single) {
            (0, false) => return Err(self.tampered("does not say how large its content is")),
            (0, true) => 1,
            (1, _) => 2,
            (2, _) => 4,
            _ => 8,
        };
        let field = self.want(width)?;
        let mut number = [0; 8];
        number.iter_mut().zip(field).for_each(|(to, &from)| *to = from);
        let number = u64::from_le_bytes(number).saturating_add(if width == 2 { 256 } else { 0 });
        match usize::try_from(number) {
            Ok(size) if (1..=FRAME_MAX).contains(&size) => Ok(size),
            _ => Err(self.tampered("holds nothing, or more than 4 MiB")),
        }
    }

    /// The blocks and the checksum (RFC 8878, section 3.1.1.2).
    fn read_blocks(&mut self) -> Result<(), Fault> {
        loop {
            let head = self.want(3)?;
            let mut number = [0; 4];
            number.iter_mut().zip(head).for_each(|(to, &from)| *to = from);
            let number = u32::from_le_bytes(number);
            let size = usize::try_from(number >> 3).unwrap_or(usize::MAX);
            let stored = match number >> 1 & 3 {
                0 | 2 => size,
                1 => 1,
                _ => return Err(self.tampered("has a block of an unknown type")),
            };
            if size > BLOCK_MAX {
                return Err(self.tampered("has a block of more than 128 KiB"));
            }
            if self.frame.len().saturating_add(stored).saturating_add(4) > FRAME_FILE_MAX {
                return Err(self.tampered("is too long"));
            }
            self.want(stored)?;
            if number & 1 == 1 {
                self.want(4)?;
                return Ok(());
            }
        }
    }

    fn read_trailer(&mut self) -> Result<(), Fault> {
        self.want(TRAILER - 4)?;
        let offset = layout::parse_trailer(&self.frame).ok_or_else(|| self.tampered("is not a trailer"))?;
        let mut one = [0];
        loop {
            match self.source.read(&mut one) {
                Ok(0) => break,
                Ok(_) => return Err(Fault::Tampered("something follows the trailer".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
        self.end = self.end.saturating_add(u64::try_from(TRAILER).unwrap_or(u64::MAX));
        self.content.clear();
        self.used = 0;
        self.trailer = Some(offset);
        self.whole = true;
        Ok(())
    }

    /// Takes exactly `count` more bytes of the file into the frame, and returns them.
    fn want(&mut self, count: usize) -> Result<&[u8], Fault> {
        let from = self.frame.len();
        let mut limited = (&mut self.source).take(u64::try_from(count).unwrap_or(u64::MAX));
        limited.read_to_end(&mut self.frame)?;
        let got = self.frame.get(from..).unwrap_or_default();
        if got.len() < count {
            return Err(self.ended());
        }
        Ok(self.frame.get(from..).unwrap_or_default())
    }

    /// The file ended inside a frame: cut, unless its last bytes are a trailer.
    fn ended(&self) -> Fault {
        if layout::parse_trailer(&self.frame).is_some() {
            return self.tampered("has a length that was changed");
        }
        Fault::Torn { at: self.start }
    }

    fn tampered(&self, what: &str) -> Fault {
        Fault::Tampered(format!("the frame at byte {} {what}", self.start))
    }
}
