//! One file, read once: hashed and compressed in one pass, so that what is named is what was read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use sha2::{Digest, Sha256};

use super::{Error, error};
use crate::history::state::FileState;
use crate::system::process::{Attributes, statx};
use crate::text;

/// Files up to this size are read whole, and compressed only when their content is new.
const SMALL: u64 = 1 << 20;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// How often a file that changes under the reader is read again.
const TRIES: usize = 3;
/// Fast, and better than none.
const LEVEL: i32 = 1;

/// Reads files; keeps its buffers.
pub(super) struct Copier {
    buffer: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
}

/// What was read.
pub(super) struct Content {
    pub(super) sha256: String,
    pub(super) size: u64,
}

/// A file that can be read, and what it is.
pub(super) struct Source {
    file: File,
    pub(super) known: Attributes,
}

impl Source {
    /// Of a descriptor that may be a mere handle (`O_PATH`). Only here a file of others is opened.
    pub(super) fn open(handle: &OwnedFd) -> Result<Self, Error> {
        let path = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string());
        let flags = fcntl(handle, FcntlArg::F_GETFL)
            .map_err(|errno| error("look at the descriptor", &path)(errno.into()))?;
        let file = if OFlag::from_bits_retain(flags).contains(OFlag::O_PATH) {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            options.open(&path).map_err(error("open the file handed over as", &path))?
        } else {
            File::from(handle.try_clone().map_err(error("keep the descriptor", &path))?)
        };
        let known = statx(&file, c"").map_err(error("look at the file handed over as", &path))?;
        Ok(Self { file, known })
    }

    /// Fails when the file was written to since it was opened here; what was read is then of no one moment. A change
    /// that leaves the content as it is (the file was deleted or renamed) is none.
    fn is_unchanged(&mut self, sha256: &str) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let path = Path::new("the file handed over");
            let now = statx(&self.file, c"").map_err(error("look at", path))?;
            if FileState::of(&now) == FileState::of(&self.known) {
                return Ok(true);
            }
            self.known = now;
            if self.hash(u64::MAX)?.sha256 != sha256 {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn hash(&self, limit: u64) -> Result<Content, Error> {
        let mut hash = Sha256::new();
        let size = self.read(limit, &mut vec![0; CHUNK], &mut |chunk| {
            hash.update(chunk);
            Ok(())
        })?;
        Ok(Content { sha256: text::hex(&hash.finalize()), size })
    }

    /// Reads all of it, wherever the descriptor stands: others may hold it too.
    fn read(
        &self,
        limit: u64,
        buffer: &mut [u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut size: u64 = 0;
        loop {
            let count = match self.file.read_at(buffer, size) {
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(error("read", Path::new("the file handed over")))?,
            };
            let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { return Ok(size) };
            size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            if size > limit {
                return Err(Error::TooLarge(limit));
            }
            sink(chunk)?;
        }
    }
}

impl Copier {
    pub(super) fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self { buffer: vec![0; CHUNK], compressor })
    }

    /// Copies `source`, at most `limit` bytes, into a file that `make` opens, unless `is_there` knows its content: then
    /// no file is made, or an empty one is left. Returns the file, if its content is new.
    pub(super) fn copy(
        &mut self,
        source: &mut Source,
        limit: u64,
        is_there: &mut dyn FnMut(&str) -> bool,
        make: &mut dyn FnMut() -> Result<File, Error>,
    ) -> Result<(Content, Option<File>), Error> {
        let size = source.known.size;
        if size > limit {
            return Err(Error::TooLarge(limit));
        }
        let (content, file) = if size <= SMALL {
            self.small(source, limit, is_there, make)?
        } else {
            let (content, file) = self.large(source, limit, make)?;
            let is_new = !is_there(&content.sha256);
            (content, Some(file).filter(|_| is_new))
        };
        if source.is_unchanged(&content.sha256)? { Ok((content, file)) } else { Err(Error::Changed) }
    }

    fn small(
        &mut self,
        source: &Source,
        limit: u64,
        is_there: &mut dyn FnMut(&str) -> bool,
        make: &mut dyn FnMut() -> Result<File, Error>,
    ) -> Result<(Content, Option<File>), Error> {
        let mut whole = Vec::new();
        let size = source.read(limit.min(SMALL), &mut self.buffer, &mut |chunk| {
            whole.extend_from_slice(chunk);
            Ok(())
        });
        // It was smaller a moment ago.
        let size = size.map_err(|failure| match failure {
            Error::TooLarge(_) => Error::Changed,
            other => other,
        })?;
        let content = Content { sha256: text::hex(&Sha256::digest(&whole)), size };
        if is_there(&content.sha256) {
            return Ok((content, None));
        }
        let step = error("compress", Path::new("the file handed over"));
        let packed = self.compressor.compress(&whole).map_err(step)?;
        let mut file = make()?;
        file.write_all(&packed).map_err(error("write", Path::new("into the stash")))?;
        Ok((content, Some(file)))
    }

    fn large(
        &mut self,
        source: &Source,
        limit: u64,
        make: &mut dyn FnMut() -> Result<File, Error>,
    ) -> Result<(Content, File), Error> {
        let into = Path::new("into the stash");
        let mut encoder = zstd::Encoder::new(make()?, LEVEL).map_err(error("compress", into))?;
        encoder.include_checksum(true).map_err(error("compress", into))?;
        let mut hash = Sha256::new();
        let size = source.read(limit, &mut self.buffer, &mut |chunk| {
            hash.update(chunk);
            encoder.write_all(chunk).map_err(error("write", into))
        })?;
        let file = encoder.finish().map_err(error("finish the copy", into))?;
        Ok((Content { sha256: text::hex(&hash.finalize()), size }, file))
    }
}
