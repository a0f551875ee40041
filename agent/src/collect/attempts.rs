//! Every attempt ends in exactly one outcome, within the deadline and the budget, and is written down.

use std::io::{self, Cursor, Read};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::bundle::frame::Effort;
use crate::bundle::writer::Error;
use crate::bundle::{Attempt, Bag, Frozen, Name, Outcome};
use crate::capture::job::Limits;

/// Room for most texts of /proc.
const TEXT: usize = 4096;

/// How far a collection is; many a second, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which collection.
    pub collection: String,
    /// Attempts so far.
    pub done: u64,
    /// Attempts expected; 0 where that is not known.
    pub total: u64,
    /// Bytes taken so far by the whole capture.
    pub bytes: u64,
    /// What is held still at this moment, and how: should the collector be killed, this is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holds: Option<String>,
}

/// Why something was not taken, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
}

impl Miss {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into() }
    }

    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Refused, detail)
    }

    pub(super) fn late() -> Self {
        Self::new(Outcome::TimedOut, "the capture's deadline had passed")
    }

    pub(super) fn partial(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Partial, detail)
    }

    /// The same of a file of a process, or of a kernel, that is there: then it is the file that is not.
    pub(super) fn of_the_living(self) -> Self {
        match self.outcome {
            Outcome::Gone => Self::refused(format!("this kernel does not have it: {}", self.detail)),
            _ => self,
        }
    }

    /// What the failure of `step` means.
    pub(super) fn at(step: &str, error: &io::Error) -> Self {
        let outcome = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ESRCH | Errno::ENOTDIR) => Outcome::Gone,
            // EAGAIN: somebody holds a lease on the file.
            Some(Errno::ETIMEDOUT | Errno::EAGAIN) => Outcome::TimedOut,
            _ if error.kind() == io::ErrorKind::TimedOut => Outcome::TimedOut,
            _ => Outcome::Refused,
        };
        Self::new(outcome, format!("{step}: {error}"))
    }
}

/// Something to put into the bag.
pub(super) struct Found<'s> {
    source: Box<dyn Read + 's>,
    size: u64,
    effort: Effort,
    /// What is missing from it already.
    lack: Option<Miss>,
    /// A remark.
    note: Option<String>,
}

impl<'s> Found<'s> {
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self::stream(Cursor::new(bytes), size)
    }

    /// A source of `size` bytes; one that ends earlier is reported as partial.
    pub(super) fn stream(source: impl Read + 's, size: u64) -> Self {
        Self { source: Box::new(source), size, effort: Effort::Small, lack: None, note: None }
    }

    /// Compressed so that it is soon done.
    pub(super) fn fast(mut self) -> Self {
        self.effort = Effort::Fast;
        self
    }

    pub(super) fn json<T: Serialize>(value: &T) -> Result<Self, Miss> {
        json(value).map(Self::bytes)
    }

    pub(super) fn lacking(mut self, lack: Option<Miss>) -> Self {
        self.lack = self.lack.or(lack);
        self
    }

    pub(super) fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Something that was read, or not, before it is put into the bag.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) subject: String,
    pub(super) name: Name,
    /// When reading began, and how long it took.
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    pub(super) found: Result<Gathered, Miss>,
}

/// Bytes, and what is missing from them.
pub(super) type Gathered = (Vec<u8>, Option<Miss>);

/// What an attempt may still use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of evidence left in the capture.
    pub(super) bytes: u64,
    /// Of these, bytes of process memory.
    pub(super) memory: u64,
    /// Bytes of any one file.
    pub(super) file: u64,
    /// When the capture ends.
    pub(super) deadline: Instant,
}

/// Takes things into the bag, one attempt after the other.
pub(super) struct Attempts<'a> {
    bag: &'a mut Bag,
    progress: &'a mut dyn FnMut(Progress),
    collection: &'static str,
    done: u64,
    total: u64,
    taken: u64,
    holds: Option<String>,
    room: Room,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        bag: &'a mut Bag,
        progress: &'a mut dyn FnMut(Progress),
        limits: &Limits,
        deadline: Instant,
    ) -> Self {
        let room =
            Room { bytes: limits.bytes, memory: limits.memory_bytes, file: limits.file_bytes, deadline };
        Self { bag, progress, collection: "", done: 0, total: 0, taken: 0, holds: None, room }
    }

    /// The attempts that follow belong to `collection`.
    pub(super) fn begin(&mut self, collection: &'static str) {
        (self.collection, self.done, self.total) = (collection, 0, 0);
        self.report();
    }

    /// About `more` attempts are to come.
    pub(super) fn expect(&mut self, more: usize) {
        self.total = self.done.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// What follows has a budget of its own.
    pub(super) fn grant(&mut self, bytes: u64) {
        self.room.bytes = bytes;
    }

    /// What follows ends by `deadline`.
    pub(super) fn end_by(&mut self, deadline: Instant) {
        self.room.deadline = deadline;
    }

    /// What is written from now on does not stay in memory.
    pub(super) fn drop_behind(&mut self) {
        self.bag.drop_behind();
    }

    /// How much process memory was made safe on the disk first, and when it was.
    pub(super) fn safe(&self) -> Option<(u64, Instant)> {
        self.bag.safe()
    }

    /// Counts bytes of process memory.
    pub(super) fn spend_memory(&mut self, bytes: u64) {
        self.room.memory = self.room.memory.saturating_sub(bytes);
    }

    /// What follows is about to be held still.
    pub(super) fn hold(&mut self, what: String) {
        self.holds = Some(what);
        self.report();
    }

    /// It runs again; how it was held is written down.
    pub(super) fn let_go(&mut self, frozen: Option<&Frozen>) -> Result<(), Error> {
        self.holds = None;
        self.report();
        frozen.map_or(Ok(()), |frozen| self.bag.frozen(frozen))
    }

    pub(super) fn late(&self) -> bool {
        Instant::now() >= self.room.deadline
    }

    /// One attempt: `find` gives the bytes or says why not. True when (some of) it is in the bag.
    pub(super) fn take<'s>(
        &mut self,
        subject: impl Into<String>,
        name: &Name,
        find: impl FnOnce(Room) -> Result<Found<'s>, Miss>,
    ) -> Result<bool, Error> {
        self.take_and_judge(subject, name, find, || None)
    }

    /// The same, where only the reading shows what is missing, or worth a remark (then the outcome is `ok`): `judge` is
    /// asked after it.
    pub(super) fn take_and_judge<'s>(
        &mut self,
        subject: impl Into<String>,
        name: &Name,
        find: impl FnOnce(Room) -> Result<Found<'s>, Miss>,
        judge: impl FnOnce() -> Option<Miss>,
    ) -> Result<bool, Error> {
        let mut attempt = self.start(subject.into());
        let started = Instant::now();
        let found = if self.late() {
            Err(Miss::late())
        } else {
            find(self.room).and_then(|found| self.affordable(found))
        };
        let added = match found {
            Ok(found) => self.add(&mut attempt, name, found)?,
            Err(miss) => {
                (attempt.outcome, attempt.detail) = (miss.outcome, Some(miss.detail));
                false
            }
        };
        if added && let Some(miss) = judge() {
            if attempt.outcome == Outcome::Ok {
                attempt.outcome = miss.outcome;
            }
            let known = attempt.detail.take().map(|detail| format!("{detail}; ")).unwrap_or_default();
            attempt.detail = Some(known + &miss.detail);
        }
        attempt.took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.end(&attempt)?;
        Ok(added)
    }

    /// An attempt that was made already, by another thread.
    pub(super) fn put(&mut self, piece: Piece) -> Result<(), Error> {
        let Piece { subject, name, at, took, found } = piece;
        let mut attempt = self.start(subject);
        attempt.at = at;
        let found = found.map(|(bytes, lack)| Found::bytes(bytes).lacking(lack));
        let begun = Instant::now();
        match found.and_then(|found| self.affordable(found)) {
            Ok(found) => drop(self.add(&mut attempt, &name, found)?),
            Err(miss) => (attempt.outcome, attempt.detail) = (miss.outcome, Some(miss.detail)),
        }
        attempt.took_us = u64::try_from((took + begun.elapsed()).as_micros()).unwrap_or(u64::MAX);
        self.end(&attempt)
    }

    fn affordable<'s>(&self, found: Found<'s>) -> Result<Found<'s>, Miss> {
        if found.size > self.room.bytes {
            return Err(Miss::new(Outcome::OverBudget, format!("{} bytes", found.size)));
        }
        Ok(found)
    }

    /// An attempt that failed before anything could be read.
    pub(super) fn miss(&mut self, subject: impl Into<String>, miss: Miss) -> Result<(), Error> {
        let mut attempt = self.start(subject.into());
        (attempt.outcome, attempt.detail) = (miss.outcome, Some(miss.detail));
        self.end(&attempt)
    }

    /// An attempt whose bytes are in the bag already, as `name`.
    pub(super) fn same(&mut self, subject: impl Into<String>, name: &Name) -> Result<(), Error> {
        let mut attempt = self.start(subject.into());
        attempt.detail = Some("the same file; taken once".to_owned());
        attempt.artifact = Some(name.clone());
        self.end(&attempt)
    }

    fn add(&mut self, attempt: &mut Attempt, name: &Name, found: Found<'_>) -> Result<bool, Error> {
        let Found { source, size, effort, lack, note } = found;
        let mut source = Timed { source, deadline: self.room.deadline };
        let added = match self.bag.stream_with(name, size, &mut source, effort) {
            Ok(added) => added,
            // One thing twice is a fault of ours or a trick of theirs; it must not end the capture.
            Err(error @ (Error::Twice(_) | Error::BadName(_) | Error::Full)) => {
                (attempt.outcome, attempt.detail) = (Outcome::Refused, Some(error.to_string()));
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        attempt.artifact = Some(name.clone());
        attempt.bytes = added.read;
        self.taken = self.taken.saturating_add(added.bytes);
        self.room.bytes = self.room.bytes.saturating_sub(added.bytes);
        let short = || format!("{} of {} bytes; the rest is padding", added.read, added.bytes);
        (attempt.outcome, attempt.detail) = match (&added.failure, lack) {
            (Some(error), _) if error.kind() == io::ErrorKind::TimedOut => {
                (Outcome::TimedOut, Some(format!("{error}: {}", short())))
            }
            (Some(error), _) => (Outcome::Partial, Some(format!("{error}: {}", short()))),
            (None, Some(lack)) => (lack.outcome, Some(lack.detail)),
            (None, None) if added.read < added.bytes => {
                (Outcome::Partial, Some(format!("it ended early: {}", short())))
            }
            (None, None) => (Outcome::Ok, note),
        };
        Ok(true)
    }

    fn start(&self, subject: String) -> Attempt {
        Attempt {
            collection: self.collection.to_owned(),
            subject,
            outcome: Outcome::Ok,
            detail: None,
            artifact: None,
            bytes: 0,
            at: Timestamp::now(),
            took_us: 0,
        }
    }

    fn end(&mut self, attempt: &Attempt) -> Result<(), Error> {
        self.bag.attempt(attempt)?;
        self.done = self.done.saturating_add(1);
        self.total = self.total.max(self.done);
        self.report();
        Ok(())
    }

    fn report(&mut self) {
        let Self { collection, done, total, taken, .. } = *self;
        let holds = self.holds.clone();
        (self.progress)(Progress { collection: collection.to_owned(), done, total, bytes: taken, holds });
    }
}

/// A source that is not read past the deadline.
struct Timed<'s> {
    source: Box<dyn Read + 's>,
    deadline: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the capture's deadline passed"));
        }
        self.source.read(buffer)
    }
}

/// A value as people and programs read it.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Miss> {
    serde_json::to_vec_pretty(value).map_err(|error| Miss::refused(format!("write as JSON: {error}")))
}

/// At most `max` bytes of `source`, and whether that was all.
pub(super) fn read_bounded(source: impl Read, max: u64) -> io::Result<(Vec<u8>, bool)> {
    // Most texts of /proc are whole after one read: without room the first one would be of 32 bytes.
    let mut bytes = Vec::with_capacity(TEXT);
    source.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let whole = bytes.len() <= max;
    bytes.truncate(max);
    Ok((bytes, whole))
}

#[cfg(test)]
#[path = "attempts_test.rs"]
mod tests;
