//! Writes events down: a frame is sealed at least every second, and is on the disk itself within another.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::segment::{Error, error, segment_name};
use super::sync::{Order, Syncer};
use crate::event::Event;

/// Of what is written at once; what is kept for long is compressed again (compact.rs).
const LEVEL: i32 = 1;
/// How old the events of an open frame may become.
pub const FRAME_AGE: Duration = Duration::from_millis(450);
/// Plain bytes after which a frame is sealed early.
const FRAME_BYTES: usize = 256 << 10;
/// Bytes on disk after which a new segment begins: what is not compacted yet has to be read whole.
const SEGMENT_BYTES: u64 = 4 << 20;
/// A segment is closed, so that it can be compacted, after this time.
const SEGMENT_AGE: Duration = Duration::from_hours(1);

/// How many events an error cost, and which error it was.
pub type Lost = (u64, Error);

/// Appends events to the newest segment.
pub struct Writer {
    folder: PathBuf,
    open: Option<Open>,
    compressor: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
    events_in_frame: u64,
    opened: Option<Instant>,
    syncer: Syncer,
}

/// The segment that is being written. Its lock says so to the compactor, and ends with the recorder.
struct Open {
    file: Flock<File>,
    path: PathBuf,
    written: u64,
    begun: Option<Instant>,
}

impl Writer {
    /// A writer for `folder`, which is made (0700) where it does not exist. An old segment is never continued.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        super::make_private_folder(folder).map_err(error("make the folder of", folder))?;
        let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(error("compress", folder))?;
        compressor.include_checksum(true).map_err(error("compress", folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            open: None,
            compressor,
            frame: Vec::new(),
            events_in_frame: 0,
            opened: None,
            syncer: Syncer::start().map_err(error("start a thread to sync", folder))?,
        })
    }

    /// Takes in one event; it is on disk when the frame is sealed.
    pub fn append(&mut self, event: &Event, now: Instant) -> Result<(), Lost> {
        let start = self.frame.len();
        if let Err(failure) = serde_json::to_writer(&mut self.frame, event) {
            self.frame.truncate(start);
            return Err((1, error("write an event of", &self.folder)(failure.into())));
        }
        self.frame.push(b'\n');
        self.events_in_frame = self.events_in_frame.saturating_add(1);
        if self.open.is_none() {
            let opened = self.begin_segment(event.time);
            opened.map_err(|failure| (self.drop_frame(), failure))?;
        }
        let opened = *self.opened.get_or_insert(now);
        if self.frame.len() >= FRAME_BYTES || now.saturating_duration_since(opened) >= FRAME_AGE {
            return self.seal_frame(now);
        }
        Ok(())
    }

    /// Seals the frame when its time has come; call it at least every 250 ms, so that no event waits for a second.
    pub fn tick(&mut self, now: Instant) -> Result<(), Lost> {
        match self.opened {
            Some(opened) if now.saturating_duration_since(opened) >= FRAME_AGE => self.seal_frame(now),
            _ => self.sync(),
        }
    }

    /// Writes the open frame now. On an error the frame's events are given up; their number is returned with it.
    pub fn seal_frame(&mut self, now: Instant) -> Result<(), Lost> {
        if !self.frame.is_empty() {
            let outcome = self.write_frame(now);
            let events = self.drop_frame();
            outcome.map_err(|failure| (events, failure))?;
            self.syncer.wrote(events);
        }
        self.sync()
    }

    /// Writes all there is and closes the segment; returns when all that was written is on the disk, or cannot be brought there.
    pub fn close(&mut self) -> Result<(), Lost> {
        self.seal_frame(Instant::now())?;
        self.close_segment();
        let outcome = self.syncer.finish();
        outcome.map_err(|(lost, failure)| (lost, error("sync", &self.folder)(failure)))
    }

    /// Hands what was written to the thread that syncs. Where the disk did not take it, the segment is not continued.
    fn sync(&mut self) -> Result<(), Lost> {
        let current = self.open.as_ref().map(|open| &*open.file);
        self.syncer.turn(current).map_err(|(lost, failure)| {
            let path = self.open.take().map_or_else(|| self.folder.clone(), |open| open.path);
            (lost, error("sync", &path)(failure))
        })
    }

    fn write_frame(&mut self, now: Instant) -> Result<(), Error> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let path = &open.path;
        let frame = self.compressor.compress(&self.frame).map_err(error("compress", path))?;
        if let Err(failure) = open.file.write_all(&frame) {
            let failure = error("write", path)(failure);
            self.give_up_segment();
            return Err(failure);
        }
        open.written = open.written.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        let begun = *open.begun.get_or_insert(now);
        if open.written >= SEGMENT_BYTES || now.saturating_duration_since(begun) >= SEGMENT_AGE {
            self.close_segment();
        }
        Ok(())
    }

    /// A half-written frame would hide those behind it from a reader: it is cut off; nothing is left of an empty segment.
    fn give_up_segment(&mut self) {
        let Some(open) = self.open.take() else { return };
        // A failure here leaves a torn tail, which every reader expects.
        drop(if open.written == 0 {
            std::fs::remove_file(&open.path)
        } else {
            open.file.set_len(open.written)
        });
    }

    fn close_segment(&mut self) {
        if let Some(open) = self.open.take() {
            self.syncer.later(Order::Data(open.file));
        }
    }

    fn drop_frame(&mut self) -> u64 {
        self.frame.clear();
        self.opened = None;
        std::mem::take(&mut self.events_in_frame)
    }

    fn begin_segment(&mut self, first: Timestamp) -> Result<(), Error> {
        let mut time = first;
        // Two segments may not begin in the same nanosecond: the later one moves on.
        for _ in 0..1000 {
            let path = self.folder.join(segment_name(time));
            let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
            match made {
                Ok(file) => return self.begin(file, path),
                Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {
                    time = time.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(time);
                }
                Err(failure) => return Err(error("begin a segment of", &path)(failure)),
            }
        }
        Err(error("begin a segment of", &self.folder)(io::ErrorKind::AlreadyExists.into()))
    }

    fn begin(&mut self, file: File, path: PathBuf) -> Result<(), Error> {
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, failure)| error("lock", &path)(failure.into()))?;
        // The file's name has to outlive a power cut, too.
        if let Ok(folder) = File::open(&self.folder) {
            self.syncer.later(Order::Folder(folder));
        }
        self.open = Some(Open { file, path, written: 0, begun: None });
        Ok(())
    }

    /// The segment that is being written.
    pub(super) fn current(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.path.as_path())
    }

    /// The folder it writes into.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
#[path = "writer_test.rs"]
mod tests;
