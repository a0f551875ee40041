//! Reads a bundle by offset: its own account of itself without the payload, or one artifact.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::frame::{Fault, Frames};
use super::layout::{self, TRAILER};
use super::manifest::{Artifact, Capture};
use super::signers::Signers;
use super::verify::{Intact, Reading, Signature};
use crate::text;

/// `capture.json` and who signed it. The payload is not looked at; the account itself is checked like any other.
pub fn account(file: &File, signers: &Signers, now: Timestamp) -> Result<(Capture, Signature), Fault> {
    let at = trailer(file)?;
    let frames = Frames::new(source(file, at)?, at)?;
    Reading::default().read_tags(frames, signers, now)
}

/// Where the trailer says that the tag files begin.
fn trailer(mut file: &File) -> Result<u64, Fault> {
    let length = file.metadata()?.len();
    let size = u64::try_from(TRAILER).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(size)))?;
    file.take(size).read_to_end(&mut bytes)?;
    let at = layout::parse_trailer(&bytes).ok_or(Fault::Torn { at: length })?;
    if at > length {
        return Err(Fault::Tampered("the trailer points beyond the file".to_owned()));
    }
    Ok(at)
}

fn source(mut file: &File, at: u64) -> io::Result<BufReader<&File>> {
    file.seek(SeekFrom::Start(at))?;
    Ok(BufReader::with_capacity(256 << 10, file))
}

/// Where an artifact is, and what it must be.
#[derive(Clone, Debug)]
pub struct Place {
    /// File offset of its first frame.
    pub frame: u64,
    /// Bytes of content before it.
    pub skip: u64,
    /// Its size.
    pub size: u64,
    /// Its hash, in hexadecimal.
    pub sha256: String,
}

impl From<&Artifact> for Place {
    fn from(artifact: &Artifact) -> Self {
        let Artifact { frame, skip, size, sha256, .. } = artifact.clone();
        Self { frame, skip, size, sha256 }
    }
}

impl From<&Intact> for Place {
    fn from(intact: &Intact) -> Self {
        let Intact { frame, skip, size, sha256, .. } = intact.clone();
        Self { frame, skip, size, sha256 }
    }
}

/// The bytes of one artifact. The last read fails when they are not those of its hash.
pub struct ArtifactReader<'a> {
    frames: Frames<BufReader<&'a File>>,
    rest: u64,
    hash: Sha256,
    sha256: String,
}

/// Opens one artifact.
pub fn artifact(file: &File, place: impl Into<Place>) -> Result<ArtifactReader<'_>, Fault> {
    let Place { frame, skip, size, sha256 } = place.into();
    let mut frames = Frames::new(source(file, frame)?, frame)?;
    let mut before = skip;
    while before > 0 {
        let count = frames.take(before)?.len();
        if count == 0 {
            return Err(Fault::Tampered("an artifact is not where it should be".to_owned()));
        }
        before = before.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(ArtifactReader { frames, rest: size, hash: Sha256::new(), sha256 })
}

impl ArtifactReader<'_> {
    /// Reads what is left, and fails unless all bytes are those of the hash.
    pub fn check(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl Read for ArtifactReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it is not what its hash says");
        if self.rest == 0 {
            // Asked again, it must say the same again.
            let hash = text::hex(&self.hash.clone().finalize());
            return if hash == self.sha256 { Ok(0) } else { Err(wrong()) };
        }
        let limit = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let target = buffer.get_mut(..limit).unwrap_or_default();
        let count = self.frames.read(target).map_err(io::Error::other)?;
        if count == 0 && limit > 0 {
            return Err(wrong());
        }
        let got = target.get(..count).unwrap_or_default();
        self.hash.update(got);
        self.rest = self.rest.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}
