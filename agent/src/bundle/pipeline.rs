//! Frames on their way to the file: filled by one thread, compressed by several, written in order by one.
//!
//! What the journal says of a frame is written after the frame, so that a kill at any moment leaves a journal that
//! never says more than the file holds.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;

use super::frame::Compressor;
use super::journal::Line;
use super::layout::FRAME_MAX;
use super::manifest::{Artifact, Attempt};

/// What is complete reaches the file within this time, also when nothing follows it.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// More compressing threads than this help nobody: a capture must leave the host its processors.
const WORKERS_MAX: usize = 4;
/// Notes that wait for a frame at most.
const NOTES_MAX: usize = 1000;

/// What the journal shall say once the frame before it is written.
pub(super) enum Note {
    /// A member; its `frame` is still the frame's number, not its offset.
    Member(Artifact),
    /// An attempt.
    Attempt(Attempt),
    /// The end, with the attempts that were dropped.
    End(u64),
}

/// The frame that is being filled.
pub(super) struct Open {
    content: Vec<u8>,
    notes: Vec<Note>,
    number: u64,
    jobs: SyncSender<Job>,
    order: SyncSender<Queued>,
}

struct Job {
    content: Vec<u8>,
    reply: SyncSender<io::Result<Vec<u8>>>,
}

struct Queued {
    frame: Option<Receiver<io::Result<Vec<u8>>>>,
    notes: Vec<Note>,
}

/// The threads and what they share.
pub(super) struct Pipeline {
    open: Option<Arc<Mutex<Open>>>,
    failure: Arc<OnceLock<io::Error>>,
    writer: Option<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts the threads that write to `partial` and `journal`.
    pub(super) fn start(partial: File, journal: File) -> io::Result<Self> {
        let workers = thread::available_parallelism().map_or(1, |count| count.get().min(WORKERS_MAX));
        let (jobs, work) = sync_channel::<Job>(workers);
        let work = Arc::new(Mutex::new(work));
        for _ in 0..workers {
            let work = Arc::clone(&work);
            let mut compressor = Compressor::new()?;
            thread::Builder::new()
                .name("compress".to_owned())
                .spawn(move || compress(&work, &mut compressor))?;
        }
        let (order, queue) = sync_channel(workers);
        let open = Open { content: Vec::new(), notes: Vec::new(), number: 0, jobs, order };
        let open = Arc::new(Mutex::new(open));
        let failure = Arc::new(OnceLock::new());
        let mut writer = Writer {
            partial,
            journal,
            compressor: Compressor::new()?,
            offsets: Vec::new(),
            at: 0,
            failure: Arc::clone(&failure),
        };
        let weak = Arc::downgrade(&open);
        let writer =
            thread::Builder::new().name("bundle".to_owned()).spawn(move || writer.run(&queue, &weak))?;
        Ok(Self { open: Some(open), failure, writer: Some(writer) })
    }

    /// The frame that is being filled.
    pub(super) fn open(&self) -> io::Result<MutexGuard<'_, Open>> {
        self.check()?;
        let open = self.open.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes down a last word even when frames can no longer be written: the journal has room of its own.
    pub(super) fn note(&self, note: Note) -> io::Result<()> {
        if let Some(open) = &self.open {
            open.lock().unwrap_or_else(PoisonError::into_inner).note(note)?;
        }
        self.check()
    }

    /// Writes what is left and ends the threads.
    pub(super) fn finish(mut self, attempts_dropped: u64) -> io::Result<()> {
        if let Some(open) = &self.open {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            open.note(Note::End(attempts_dropped))?;
            open.flush()?;
        }
        self.join();
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        self.failure.get().map_or(Ok(()), |error| Err(copy(error)))
    }

    fn join(&mut self) {
        self.open = None;
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

/// Without `finish` what was complete is still written, and there is no end.
impl Drop for Pipeline {
    fn drop(&mut self) {
        self.join();
    }
}

impl Open {
    /// Makes room for `bytes` that must not be parted; the frame's number, and how full it is.
    pub(super) fn room(&mut self, bytes: u64) -> io::Result<(u64, u64)> {
        let used = u64::try_from(self.content.len()).unwrap_or(u64::MAX);
        if used > 0 && used.saturating_add(bytes) > u64::try_from(FRAME_MAX).unwrap_or(0) {
            self.flush()?;
            return Ok((self.number, 0));
        }
        Ok((self.number, used))
    }

    /// Adds content, in as many frames as it takes.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.content.capacity() < FRAME_MAX {
                self.content.reserve_exact(FRAME_MAX.saturating_sub(self.content.len()));
            }
            let room = FRAME_MAX.saturating_sub(self.content.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.content.extend_from_slice(now);
            bytes = later;
            if self.content.len() >= FRAME_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Adds to the journal once all content up to here is written.
    pub(super) fn note(&mut self, note: Note) -> io::Result<()> {
        self.notes.push(note);
        if self.notes.len() >= NOTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Closes the frame, and sends it off.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some((content, notes)) = self.take() else { return Ok(()) };
        let gone = || io::Error::other("the thread that writes the bundle has ended");
        let frame = if content.is_empty() {
            None
        } else {
            let (reply, frame) = sync_channel(1);
            self.jobs.send(Job { content, reply }).map_err(|_| gone())?;
            Some(frame)
        };
        self.order.send(Queued { frame, notes }).map_err(|_| gone())
    }

    fn take(&mut self) -> Option<(Vec<u8>, Vec<Note>)> {
        if self.content.is_empty() && self.notes.is_empty() {
            return None;
        }
        if !self.content.is_empty() {
            self.number = self.number.saturating_add(1);
        }
        Some((std::mem::take(&mut self.content), std::mem::take(&mut self.notes)))
    }
}

fn compress(work: &Mutex<Receiver<Job>>, compressor: &mut Compressor) {
    loop {
        let job = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The writer may have ended: then nobody waits for it.
        drop(job.reply.send(compressor.frame(&job.content)));
    }
}

struct Writer {
    partial: File,
    journal: File,
    compressor: Compressor,
    /// File offsets of the frames, by number.
    offsets: Vec<u64>,
    at: u64,
    failure: Arc<OnceLock<io::Error>>,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Queued>, open: &Weak<Mutex<Open>>) {
        loop {
            match queue.recv_timeout(FLUSH_AFTER) {
                Ok(queued) => self.write_queued(queued),
                Err(RecvTimeoutError::Timeout) => self.write_idle(queue, open),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Nothing came for a while: writes what has gathered.
    fn write_idle(&mut self, queue: &Receiver<Queued>, open: &Weak<Mutex<Open>>) {
        let Some(open) = open.upgrade() else { return };
        // Who holds the lock is about to send: waiting for it here could be waiting for ever.
        let Ok(mut guard) = open.try_lock() else { return };
        let earlier: Vec<Queued> = queue.try_iter().collect();
        let gathered = guard.take();
        drop(guard);
        for queued in earlier {
            self.write_queued(queued);
        }
        if let Some((content, notes)) = gathered {
            let frame = (!content.is_empty()).then(|| self.compressor.frame(&content));
            self.write(frame, notes);
        }
    }

    fn write_queued(&mut self, Queued { frame, notes }: Queued) {
        let lost = |_| Err(io::Error::other("a compressing thread has ended"));
        self.write(frame.map(|frame| frame.recv().unwrap_or_else(lost)), notes);
    }

    fn write(&mut self, frame: Option<io::Result<Vec<u8>>>, notes: Vec<Note>) {
        if let Some(frame) = frame
            && self.failure.get().is_none()
            && let Err(error) = frame.and_then(|frame| self.write_frame(&frame))
        {
            let why = error.to_string();
            drop(self.failure.set(error));
            // The journal has room of its own; if it has not, the missing end says enough.
            drop(Line::Fail { why }.to_bytes().and_then(|line| self.journal.write_all(&line)));
        }
        if let Err(error) = self.write_notes(notes) {
            drop(self.failure.set(error));
        }
    }

    fn write_frame(&mut self, frame: &[u8]) -> io::Result<()> {
        self.partial.write_all(frame)?;
        self.offsets.push(self.at);
        self.at = self.at.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn write_notes(&mut self, notes: Vec<Note>) -> io::Result<()> {
        let mut lines = Vec::new();
        let failed = self.failure.get().is_some();
        for note in notes {
            let line = match note {
                Note::Attempt(attempt) => Line::Attempt(attempt),
                // Its frame may not be there.
                Note::Member(_) | Note::End(_) if failed => continue,
                Note::Member(mut artifact) => {
                    let number = usize::try_from(artifact.frame).unwrap_or(usize::MAX);
                    artifact.frame = self.offsets.get(number).copied().ok_or(io::ErrorKind::InvalidData)?;
                    Line::Member(artifact)
                }
                Note::End(attempts_dropped) => {
                    Line::End { bytes: self.at, at: Timestamp::now(), attempts_dropped }
                }
            };
            lines.extend(line.to_bytes()?);
        }
        self.journal.write_all(&lines)
    }
}

/// Errors of the file cannot be cloned; the number is what matters.
fn copy(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Read;

    use super::*;
    use crate::bundle::Outcome;
    use crate::bundle::test::attempt;

    #[test]
    fn a_full_disk_is_an_error_and_the_journal_still_takes_the_attempts() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut journal = tempfile::NamedTempFile::new().unwrap();
        let pipeline = Pipeline::start(full, journal.reopen().unwrap()).unwrap();
        pipeline.open().unwrap().add(&vec![7; FRAME_MAX]).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while pipeline.check().is_ok() {
            assert!(std::time::Instant::now() < deadline, "nobody says that the disk is full");
            thread::yield_now();
        }
        assert_eq!(pipeline.open().err().unwrap().kind(), io::ErrorKind::StorageFull);
        let told = pipeline.note(Note::Attempt(attempt("x", Outcome::OverBudget)));
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(pipeline.finish(0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut lines = String::new();
        journal.read_to_string(&mut lines).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("{\"fail\":{\"why\":\"No space left"), "{lines:?}");
        assert!(lines[1].starts_with("{\"attempt\""), "{lines:?}");
    }
}
