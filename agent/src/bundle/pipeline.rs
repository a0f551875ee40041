//! Frames on their way to the file: filled by one thread, compressed by several, written in order by one.
//!
//! What the journal says of a frame is written after the frame, so that a kill at any moment leaves a journal that
//! never says more than the file holds.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sha2::Sha256;

use super::buffers::Buffers;
use super::disk::Disk;
use super::frame::{Compressor, Effort};
use super::hasher::Hasher;
use super::journal::Line;
use super::layout::FRAME_MAX;
use super::manifest::{Artifact, Attempt, Frozen};

/// What is complete reaches the file within this time, also when nothing follows it.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// More compressing threads than this help nobody: a capture must leave the host its processors.
const WORKERS_MAX: usize = 4;
/// Frames that wait beyond one for each compressing thread: some take longer than others, and nobody shall stand idle.
const AHEAD: usize = 2;
/// Notes that wait for a frame at most.
const NOTES_MAX: usize = 1000;
/// Process memory up to here is made safe on the disk as soon as it is written, whatever follows.
pub(super) const SAFE_FIRST: u64 = 64 << 20;

/// What the journal shall say once the frame before it is written.
pub(super) enum Note {
    /// A member; its `frame` is still the frame's number, not its offset.
    Member(Artifact),
    /// An attempt.
    Attempt(Attempt),
    /// What was held still.
    Frozen(Frozen),
    /// The end, with the attempts that were dropped.
    End(u64),
}

/// The frame that is being filled.
pub(super) struct Open {
    content: Vec<u8>,
    effort: Effort,
    notes: Vec<Note>,
    number: u64,
    /// Bytes of process memory so far.
    fast: u64,
    jobs: SyncSender<Job>,
    order: SyncSender<Queued>,
    buffers: Buffers,
    hasher: Hasher,
}

struct Job {
    content: Arc<Vec<u8>>,
    effort: Effort,
    reply: SyncSender<io::Result<Vec<u8>>>,
}

impl Job {
    /// More comes than can be compressed: memory is worth more soon than small.
    fn hasty(self) -> Self {
        match self.effort {
            Effort::Fast => Self { effort: Effort::Hasty, ..self },
            Effort::Small | Effort::Hasty | Effort::Urgent => self,
        }
    }
}

struct Queued {
    frame: Option<Receiver<io::Result<Vec<u8>>>>,
    notes: Vec<Note>,
    make_safe: bool,
}

/// What was gathered for one frame.
struct Gathered {
    content: Arc<Vec<u8>>,
    notes: Vec<Note>,
    make_safe: bool,
}

/// The threads and what they share.
pub(super) struct Pipeline {
    open: Option<Arc<Mutex<Open>>>,
    failure: Arc<OnceLock<io::Error>>,
    /// Nothing comes when the disk failed.
    safe: Receiver<Instant>,
    was_safe: OnceLock<Option<Instant>>,
    writer: Option<JoinHandle<()>>,
    drop_behind: Arc<AtomicBool>,
}

impl Pipeline {
    /// Starts the threads that write to `partial` (also opened as `past`, see [`Disk`]) and `journal`.
    pub(super) fn start(partial: File, past: Option<File>, journal: File) -> io::Result<Self> {
        let workers = thread::available_parallelism().map_or(1, |count| count.get().min(WORKERS_MAX));
        let (jobs, work) = sync_channel::<Job>(workers + AHEAD);
        let work = Arc::new(Mutex::new(work));
        let buffers = Buffers::default();
        for _ in 0..workers {
            let (work, buffers) = (Arc::clone(&work), buffers.clone());
            let mut compressor = Compressor::new()?;
            thread::Builder::new()
                .name("compress".to_owned())
                .spawn(move || compress(&work, &mut compressor, &buffers))?;
        }
        let (order, queue) = sync_channel(workers + AHEAD);
        let open = Open {
            content: Vec::new(),
            effort: Effort::default(),
            notes: Vec::new(),
            number: 0,
            fast: 0,
            jobs,
            order,
            hasher: Hasher::start(buffers.clone())?,
            buffers: buffers.clone(),
        };
        let open = Arc::new(Mutex::new(open));
        let failure = Arc::new(OnceLock::new());
        let drop_behind = Arc::new(AtomicBool::new(false));
        let (made_safe, safe) = sync_channel(1);
        let mut writer = Writer {
            disk: Disk::new(partial, past, Arc::clone(&drop_behind)),
            journal,
            compressor: Compressor::new()?,
            offsets: Vec::new(),
            buffers,
            failure: Arc::clone(&failure),
            safe: Some(made_safe),
        };
        let weak = Arc::downgrade(&open);
        let writer =
            thread::Builder::new().name("bundle".to_owned()).spawn(move || writer.run(&queue, &weak))?;
        let was_safe = OnceLock::new();
        Ok(Self { open: Some(open), failure, safe, was_safe, writer: Some(writer), drop_behind })
    }

    /// From now on nothing stays in the kernel's cache.
    pub(super) fn drop_behind(&self) {
        self.drop_behind.store(true, Ordering::Relaxed);
    }

    /// When the first [`SAFE_FIRST`] bytes of process memory were on the disk. Waits for it if they are on their way.
    pub(super) fn safe(&self) -> Option<Instant> {
        if self.open().ok()?.fast < SAFE_FIRST {
            return None;
        }
        *self.was_safe.get_or_init(|| self.safe.recv().ok())
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
    /// Makes room for `bytes` that must not be parted; the frame's number, and how full it is. What follows is worth so
    /// much effort.
    pub(super) fn room(&mut self, bytes: u64, effort: Effort) -> io::Result<(u64, u64)> {
        let used = u64::try_from(self.content.len()).unwrap_or(u64::MAX);
        let is_full = used.saturating_add(bytes) > u64::try_from(FRAME_MAX).unwrap_or(0);
        if used > 0 && (is_full || effort != self.effort) {
            self.flush()?;
            self.effort = effort;
            return Ok((self.number, 0));
        }
        self.effort = effort;
        Ok((self.number, used))
    }

    /// Adds content, in as many frames as it takes.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.content.capacity() == 0 {
                self.content = self.buffers.take();
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

    /// What is added from here on is hashed, until [`digest`](Self::digest).
    pub(super) fn hash(&mut self) {
        self.hasher.begin(self.content.len());
    }

    /// The state after all that was added since [`hash`](Self::hash).
    pub(super) fn digest(&mut self) -> io::Result<Sha256> {
        self.hasher.end(&self.content)
    }

    /// Adds to the journal once all content up to here is written.
    pub(super) fn note(&mut self, note: Note) -> io::Result<()> {
        self.notes.push(note);
        if self.notes.len() >= NOTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Closes the frame, and sends it off.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(Gathered { content, notes, make_safe }) = self.take() else { return Ok(()) };
        let gone = || io::Error::other("the thread that writes the bundle has ended");
        let frame = if content.is_empty() {
            None
        } else {
            let (reply, frame) = sync_channel(1);
            let effort = match self.effort {
                Effort::Fast if self.fast <= SAFE_FIRST => Effort::Urgent,
                effort => effort,
            };
            match self.jobs.try_send(Job { content, effort, reply }) {
                Err(TrySendError::Full(job)) => self.jobs.send(job.hasty()).map_err(|_| gone())?,
                result => result.map_err(|_| gone())?,
            }
            Some(frame)
        };
        self.order.send(Queued { frame, notes, make_safe }).map_err(|_| gone())
    }

    fn take(&mut self) -> Option<Gathered> {
        if self.content.is_empty() && self.notes.is_empty() {
            return None;
        }
        if !self.content.is_empty() {
            self.number = self.number.saturating_add(1);
        }
        let before = self.fast;
        if self.effort == Effort::Fast {
            self.fast = before.saturating_add(u64::try_from(self.content.len()).unwrap_or(u64::MAX));
        }
        let content = Arc::new(std::mem::take(&mut self.content));
        self.hasher.frame(&content);
        Some(Gathered {
            content,
            notes: std::mem::take(&mut self.notes),
            make_safe: before < SAFE_FIRST && self.fast >= SAFE_FIRST,
        })
    }
}

fn compress(work: &Mutex<Receiver<Job>>, compressor: &mut Compressor, buffers: &Buffers) {
    loop {
        let job = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { content, effort, reply }) = job else { return };
        let frame = compressor.frame_into(&content, effort, buffers.take());
        buffers.let_go(content);
        // The writer may have ended: then nobody waits for it.
        drop(reply.send(frame));
    }
}

struct Writer {
    disk: Disk,
    journal: File,
    compressor: Compressor,
    /// File offsets of the frames, by number.
    offsets: Vec<u64>,
    buffers: Buffers,
    failure: Arc<OnceLock<io::Error>>,
    safe: Option<SyncSender<Instant>>,
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
        if let Some(Gathered { content, notes, make_safe }) = gathered {
            let frame = (!content.is_empty()).then(|| self.compressor.frame(&content));
            self.write(frame, notes);
            self.make_safe(make_safe);
        }
    }

    fn write_queued(&mut self, Queued { frame, notes, make_safe }: Queued) {
        let lost = |_| Err(io::Error::other("a compressing thread has ended"));
        self.write(frame.map(|frame| frame.recv().unwrap_or_else(lost)), notes);
        self.make_safe(make_safe);
    }

    /// A disk that cannot is not said to be safe; whether all of the bundle is on it is the sealer's question.
    fn make_safe(&mut self, wanted: bool) {
        if wanted
            && let Some(safe) = self.safe.take()
            && self.failure.get().is_none()
            && self.disk.sync().is_ok()
        {
            safe.send(Instant::now()).unwrap_or_default();
        }
    }

    fn write(&mut self, frame: Option<io::Result<Vec<u8>>>, notes: Vec<Note>) {
        if let Some(frame) = frame
            && self.failure.get().is_none()
            && let Err(error) = frame.and_then(|frame| self.write_frame(frame))
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

    fn write_frame(&mut self, frame: Vec<u8>) -> io::Result<()> {
        self.offsets.push(self.disk.at());
        let written = self.disk.write(&frame);
        self.buffers.give_back(frame);
        written
    }

    fn write_notes(&mut self, notes: Vec<Note>) -> io::Result<()> {
        let mut lines = Vec::new();
        let failed = self.failure.get().is_some();
        for note in notes {
            let line = match note {
                Note::Attempt(attempt) => Line::Attempt(attempt),
                Note::Frozen(frozen) => Line::Frozen(frozen),
                // Its frame may not be there.
                Note::Member(_) | Note::End(_) if failed => continue,
                Note::Member(mut artifact) => {
                    let number = usize::try_from(artifact.frame).unwrap_or(usize::MAX);
                    artifact.frame = self.offsets.get(number).copied().ok_or(io::ErrorKind::InvalidData)?;
                    Line::Member(artifact)
                }
                Note::End(attempts_dropped) => {
                    Line::End { bytes: self.disk.at(), at: Timestamp::now(), attempts_dropped }
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
        let pipeline = Pipeline::start(full, None, journal.reopen().unwrap()).unwrap();
        pipeline.open().unwrap().add(&vec![7; FRAME_MAX]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while pipeline.check().is_ok() {
            assert!(Instant::now() < deadline, "nobody says that the disk is full");
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
