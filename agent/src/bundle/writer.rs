//! Writes a bag in the making: tar members into zstd frames, hashed as they pass.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use jiff::Timestamp;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, openat};
use nix::sys::stat::Mode;
use sha2::Digest;
use uuid::Uuid;

use super::frame::Effort;
use super::journal::Line;
use super::layout::{self, ATTEMPTS_MAX, FRAME_MAX, MEMBERS_MAX};
use super::manifest::{Artifact, Attempt, Frozen};
use super::name::Name;
use super::pipeline::{Note, Pipeline, SAFE_FIRST};
use crate::text;

/// Read at a time from a source.
const CHUNK: usize = 512 << 10;
/// Space that is set aside so that a full disk still takes the tag files.
const RESERVE: i64 = 4 << 20;
/// Space for the journal beyond its end.
const JOURNAL_RESERVE: i64 = 1 << 20;
/// Bytes of names, subjects and details at most, so that `capture.json` stays below its own limit.
const TEXT_MAX: usize = 48 << 20;
/// Characters of one subject or detail at most.
const DETAIL_MAX: usize = 4096;
/// A plan has as many processes at most; each is held once.
const FROZEN_MAX: usize = 10_000;
const ZEROS: [u8; 4096] = [0; 4096];

/// A bag in the making: `<id>.partial` (frames) and `<id>.journal` (JSON Lines) in one directory.
pub struct Bag {
    id: Uuid,
    pipeline: Pipeline,
    names: HashSet<String>,
    folders: HashSet<String>,
    chunk: Vec<u8>,
    attempts: u64,
    attempts_dropped: u64,
    frozen: usize,
    text: usize,
}

/// A member that was added.
#[derive(Debug)]
pub struct Added {
    /// The size it has in the bag.
    pub bytes: u64,
    /// How much of that came from the source; the rest is padding.
    pub read: u64,
    /// SHA-256 of what is in the bag, in hexadecimal.
    pub sha256: String,
    /// Why the source ended early, if it failed rather than ended.
    pub failure: Option<io::Error>,
}

/// Why a bag cannot be written any further. A source that fails is not among them: that is data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory does not take it.
    #[error("cannot write the bundle in the making {name}: {source}")]
    Write {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Two artifacts of one name would hide one of them.
    #[error("the bundle already has a member {0}, or one for which it is a folder")]
    Twice(Name),
    /// The format allows no such name below `data/`.
    #[error("{0} cannot be the name of an artifact")]
    BadName(Name),
    /// A reader could not hold more.
    #[error("the bundle is full: it has as many members, or as long names, as the format allows")]
    Full,
}

/// The files of a bag in the making.
pub(super) fn partial(id: Uuid) -> String {
    format!("{id}.partial")
}
pub(super) fn journal(id: Uuid) -> String {
    format!("{id}.journal")
}
pub(super) fn reserve(id: Uuid) -> String {
    format!("{id}.reserve")
}

impl Bag {
    /// A new bag with the name `id` in the directory `dir`.
    pub fn create(dir: OwnedFd, id: Uuid) -> Result<Self, Error> {
        let failed = |name: String| move |source| Error::Write { name, source };
        let new = |name: &str| create_new(dir.as_fd(), name).map_err(failed(name.to_owned()));
        let space = new(&reserve(id))?;
        set_aside(&space, FallocateFlags::empty(), RESERVE).map_err(failed(reserve(id)))?;
        let frames = new(&partial(id))?;
        let lines = new(&journal(id))?;
        set_aside(&lines, FallocateFlags::FALLOC_FL_KEEP_SIZE, JOURNAL_RESERVE)
            .map_err(failed(journal(id)))?;
        let begin = Line::Begin { id, at: Timestamp::now() }.to_bytes();
        begin.and_then(|line| io::Write::write_all(&mut &lines, &line)).map_err(failed(journal(id)))?;
        let past = past_the_cache(dir.as_fd(), &partial(id));
        // Its files are open: the folder is the sealer's from here on.
        drop(dir);
        let pipeline = Pipeline::start(frames, past, lines).map_err(failed(partial(id)))?;
        Ok(Self {
            id,
            pipeline,
            names: HashSet::new(),
            folders: HashSet::new(),
            chunk: vec![0; CHUNK],
            attempts: 0,
            attempts_dropped: 0,
            frozen: 0,
            text: 0,
        })
    }

    /// Adds a member that is held in memory.
    pub fn put(&mut self, name: &Name, bytes: &[u8]) -> Result<Added, Error> {
        self.stream(name, u64::try_from(bytes.len()).unwrap_or(u64::MAX), &mut &*bytes)
    }

    /// Adds a member of `size` bytes. A source that ends or fails earlier is padded with zeros and so reported.
    pub fn stream(&mut self, name: &Name, size: u64, source: &mut dyn Read) -> Result<Added, Error> {
        self.stream_with(name, size, source, Effort::Small)
    }

    /// The same, compressed with so much effort.
    pub fn stream_with(
        &mut self,
        name: &Name,
        size: u64,
        source: &mut dyn Read,
        effort: Effort,
    ) -> Result<Added, Error> {
        self.remember(name)?;
        let mut chunk = std::mem::take(&mut self.chunk);
        let added = self.add(name, size, source, &mut chunk, effort);
        self.chunk = chunk;
        added.map_err(|error| self.failed(error))
    }

    /// How much process memory was made safe on the disk first, and when it was.
    pub fn safe(&self) -> Option<(u64, Instant)> {
        self.pipeline.safe().map(|at| (SAFE_FIRST, at))
    }

    /// Writes down what became of an attempt.
    pub fn attempt(&mut self, attempt: &Attempt) -> Result<(), Error> {
        let mut attempt = attempt.clone();
        shorten(&mut attempt.subject);
        shorten(&mut attempt.collection);
        attempt.detail.iter_mut().for_each(shorten);
        let text = attempt.subject.len().saturating_add(attempt.detail.as_ref().map_or(0, String::len));
        self.text = self.text.saturating_add(text);
        if self.attempts >= ATTEMPTS_MAX || self.text > TEXT_MAX {
            self.attempts_dropped = self.attempts_dropped.saturating_add(1);
            return Ok(());
        }
        self.attempts = self.attempts.saturating_add(1);
        self.pipeline.note(Note::Attempt(attempt)).map_err(|error| self.failed(error))
    }

    /// Writes down what was held still.
    pub fn frozen(&mut self, frozen: &Frozen) -> Result<(), Error> {
        if self.frozen >= FROZEN_MAX {
            return Ok(());
        }
        self.frozen = self.frozen.saturating_add(1);
        self.pipeline.note(Note::Frozen(frozen.clone())).map_err(|error| self.failed(error))
    }

    /// From now on what is written is put on the disk and dropped from the kernel's cache: as large as the memory itself it
    /// would drive out what is being looked at, and show up in its image.
    pub fn drop_behind(&self) {
        self.pipeline.drop_behind();
    }

    /// Sends what was added so far on its way to the file, without waiting for it to arrive.
    pub fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.pipeline.open().and_then(|mut open| open.flush());
        flushed.map_err(|error| self.failed(error))
    }

    /// Closes the last frame; the bag is now ready to be sealed.
    pub fn finish(self) -> Result<(), Error> {
        let Self { id, pipeline, attempts_dropped, .. } = self;
        pipeline.finish(attempts_dropped).map_err(|source| Error::Write { name: partial(id), source })
    }

    fn add(
        &self,
        name: &Name,
        size: u64,
        source: &mut dyn Read,
        chunk: &mut [u8],
        effort: Effort,
    ) -> io::Result<Added> {
        let header = layout::header(self.id, name.as_str(), size);
        let before = u64::try_from(header.len()).unwrap_or(u64::MAX);
        let (frame, skip) = {
            let mut open = self.pipeline.open()?;
            let (frame, used) = open.room(before.saturating_add(size), effort)?;
            open.add(&header)?;
            open.hash();
            (frame, used.saturating_add(before))
        };
        let (read, failure) = self.copy(size, source, chunk)?;
        let mut missing = size.saturating_sub(read);
        while missing > 0 {
            let count = usize::try_from(missing).map_or(ZEROS.len(), |missing| missing.min(ZEROS.len()));
            self.pipeline.open()?.add(ZEROS.get(..count).unwrap_or_default())?;
            missing = missing.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        }
        let sha256 = text::hex(&self.pipeline.open()?.digest()?.finalize());
        let original = name.original().cloned();
        let artifact =
            Artifact { name: name.clone(), original, size, read, sha256: sha256.clone(), frame, skip };
        let mut open = self.pipeline.open()?;
        open.add(ZEROS.get(..layout::padding(size)).unwrap_or_default())?;
        open.note(Note::Member(artifact))?;
        Ok(Added { bytes: size, read, sha256, failure })
    }

    /// Copies from the source until `size`, its end or its failure. Only the frames' own errors are errors.
    fn copy(
        &self,
        size: u64,
        source: &mut dyn Read,
        chunk: &mut [u8],
    ) -> io::Result<(u64, Option<io::Error>)> {
        let mut read = 0;
        while read < size {
            let limit = usize::try_from(size.saturating_sub(read)).unwrap_or(usize::MAX).min(chunk.len());
            // Not under the lock: a source may hang, and what came before it must reach the file.
            let got = match source.read(chunk.get_mut(..limit).unwrap_or_default()) {
                Ok(0) => return Ok((read, None)),
                Ok(count) => chunk.get(..count.min(limit)).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok((read, Some(error))),
            };
            self.pipeline.open()?.add(got)?;
            read = read.saturating_add(u64::try_from(got.len()).unwrap_or(u64::MAX));
        }
        Ok((read, None))
    }

    fn remember(&mut self, name: &Name) -> Result<(), Error> {
        let text = name.as_str();
        if !layout::is_payload_name(text) {
            return Err(Error::BadName(name.clone()));
        }
        self.text = self.text.saturating_add(text.len().saturating_mul(2));
        self.text = self.text.saturating_add(name.original().map_or(0, |original| original.0.len()));
        if self.names.len() >= MEMBERS_MAX || self.text > TEXT_MAX {
            return Err(Error::Full);
        }
        let mut folders = text.match_indices('/').filter_map(|(at, _)| text.get(..at));
        if self.names.contains(text)
            || self.folders.contains(text)
            || folders.any(|folder| self.names.contains(folder))
        {
            return Err(Error::Twice(name.clone()));
        }
        self.names.insert(text.to_owned());
        for (at, _) in text.match_indices('/') {
            let folder = text.get(..at).unwrap_or_default();
            if !self.folders.contains(folder) {
                self.folders.insert(folder.to_owned());
            }
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write { name: partial(self.id), source }
    }
}

impl std::fmt::Debug for Bag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bag")
            .field("id", &self.id)
            .field("members", &self.names.len())
            .finish_non_exhaustive()
    }
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(DETAIL_MAX) {
        text.truncate(at);
        text.push_str(" ...");
    }
}

/// A new file that nobody else can read; never one that is there.
pub(super) fn create_new(dir: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
}

/// The same file, for writing past the kernel's cache; some file systems have no such way.
fn past_the_cache(dir: std::os::fd::BorrowedFd<'_>, name: &str) -> Option<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_DIRECT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty()).ok().map(File::from)
}

/// Some file systems cannot set space aside; that is no reason not to write.
fn set_aside(file: &File, flags: FallocateFlags, bytes: i64) -> io::Result<()> {
    match fallocate(file, flags, 0, bytes) {
        Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

const _: () = assert!(CHUNK <= FRAME_MAX);
