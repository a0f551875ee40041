//! Segments on disk: JSON Lines in independent zstd frames, so that `zstd -dc FILE | jq` reads them.
//!
//! A frame is sealed at least every second: whatever ends the recorder costs at most the last one. A segment's name
//! is the time of its first event, so names sort by time.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::event::Event;

/// How old the events of an open frame may become.
pub const FRAME_AGE: Duration = Duration::from_millis(600);
/// Plain bytes after which a frame is sealed early.
const FRAME_BYTES: usize = 256 << 10;
/// Bytes on disk after which a new segment begins.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The longest line that is read back; an event is far shorter.
const LINE_MAX: usize = 1 << 20;
/// Memory a frame may ask of the reader: 8 MiB of window.
const WINDOW_LOG_MAX: u32 = 23;
const SUFFIX: &str = ".jsonl.zst";

/// Why the history could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} the history {path}: {source}")]
pub struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { step, path, source }
}

/// Appends events to the newest segment.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    open: Option<(File, PathBuf, u64)>,
    frame: Vec<u8>,
    events_in_frame: u64,
    opened: Option<Instant>,
}

impl Writer {
    /// A writer for `folder`, which is made (0700) where it does not exist. An old segment is never continued.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        super::make_private_folder(folder).map_err(error("make the folder of", folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            open: None,
            frame: Vec::new(),
            events_in_frame: 0,
            opened: None,
        })
    }

    /// Takes in one event; it is on disk when the frame is sealed. Returns how many events an error cost.
    pub fn append(&mut self, event: &Event, now: Instant) -> Result<(), (u64, Error)> {
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
            return self.seal_frame();
        }
        Ok(())
    }

    /// Seals the frame when its time has come; call it at least every 250 ms, so that no event waits for a second.
    pub fn tick(&mut self, now: Instant) -> Result<(), (u64, Error)> {
        match self.opened {
            Some(opened) if now.saturating_duration_since(opened) >= FRAME_AGE => self.seal_frame(),
            _ => Ok(()),
        }
    }

    /// Whether everything that was taken in is on disk, or given up.
    pub fn is_sealed(&self) -> bool {
        self.events_in_frame == 0
    }

    /// Writes the open frame now. On an error the frame's events are given up; their number is returned with it.
    pub fn seal_frame(&mut self) -> Result<(), (u64, Error)> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let outcome = self.write_frame();
        let lost = self.drop_frame();
        outcome.map_err(|failure| (lost, failure))
    }

    fn write_frame(&mut self) -> Result<(), Error> {
        let Some((file, path, written)) = self.open.as_mut() else { return Ok(()) };
        let mut compressor = zstd::bulk::Compressor::new(3).map_err(error("compress", path))?;
        compressor.include_checksum(true).map_err(error("compress", path))?;
        let frame = compressor.compress(&self.frame).map_err(error("compress", path))?;
        if let Err(failure) = file.write_all(&frame) {
            // A half-written frame would hide those behind it from a reader: cut it off.
            let cut =
                file.set_len(*written).and_then(|()| io::Seek::seek(file, io::SeekFrom::End(0)).map(drop));
            let failure = error("write", path)(cut.err().unwrap_or(failure));
            self.open = None;
            return Err(failure);
        }
        *written = written.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        if *written >= SEGMENT_BYTES {
            let synced = file.sync_data().map_err(error("sync", path));
            self.open = None;
            synced?;
        }
        Ok(())
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
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            match made {
                Ok(file) => {
                    self.open = Some((file, path, 0));
                    return Ok(());
                }
                Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {
                    time = time.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(time);
                }
                Err(failure) => return Err(error("begin a segment of", &path)(failure)),
            }
        }
        Err(error("begin a segment of", &self.folder)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Removes the oldest closed segments until the rest fits `bytes` and is younger than `oldest`.
    pub fn retain(&self, bytes: u64, oldest: Timestamp) -> Result<u64, Error> {
        let segments = list(&self.folder)?;
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let current = self.open.as_ref().map(|(_, path, _)| path);
        let mut removed = 0;
        // A segment's newest event is older than the beginning of the next one.
        let ends = segments.iter().skip(1).map(|next| next.begins);
        for (segment, end) in segments.iter().zip(ends) {
            if (total <= bytes && end >= oldest) || Some(&segment.path) == current {
                break;
            }
            std::fs::remove_file(&segment.path).map_err(error("remove a segment of", &segment.path))?;
            total = total.saturating_sub(segment.bytes);
            removed += 1;
        }
        Ok(removed)
    }
}

/// A segment on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// The time of its first event.
    pub begins: Timestamp,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The segments of `folder`, oldest first; files with other names are passed over.
pub fn list(folder: &Path) -> Result<Vec<Segment>, Error> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error("list", folder))? {
        let entry = entry.map_err(error("list", folder))?;
        let Some(begins) = entry.file_name().to_str().and_then(parse_name) else { continue };
        // A segment may be removed between the listing and the look at it.
        let Ok(metadata) = entry.metadata() else { continue };
        segments.push(Segment { path: entry.path(), begins, bytes: metadata.len() });
    }
    segments.sort_by_key(|segment| segment.begins);
    Ok(segments)
}

/// The segments that may hold events at or after `since`, oldest first.
pub fn since(segments: &[Segment], since: Timestamp) -> &[Segment] {
    let first = segments.partition_point(|segment| segment.begins < since).saturating_sub(1);
    segments.get(first..).unwrap_or_default()
}

/// What was found at the end of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Events read.
    pub events: u64,
    /// Lines that are no event.
    pub bad_lines: u64,
    /// Whether the file ends in the middle of a frame, or is damaged from there on.
    pub torn: bool,
}

/// Reads a segment's events in the order in which they were written.
pub fn read(segment: impl Read, sink: &mut dyn FnMut(Event)) -> io::Result<End> {
    let mut end = End::default();
    let mut decoder = zstd::Decoder::new(segment)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut lines = BufReader::with_capacity(64 << 10, decoder);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        match lines.by_ref().take(limit).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(end),
            Ok(_) => match serde_json::from_slice(&line) {
                Ok(event) => {
                    end.events += 1;
                    sink(event);
                }
                Err(_) => end.bad_lines += 1,
            },
            // An incomplete frame, or one that is not zstd: whatever stood before it has been given.
            Err(_) => {
                end.torn = true;
                return Ok(end);
            }
        }
    }
}

/// Reads a segment file; see [`read`].
pub fn read_file(path: &Path, sink: &mut dyn FnMut(Event)) -> Result<End, Error> {
    let file = File::open(path).map_err(error("open", path))?;
    read(file, sink).map_err(error("read", path))
}

fn segment_name(time: Timestamp) -> String {
    format!("{}{SUFFIX}", time.strftime("%Y%m%dT%H%M%S.%9fZ"))
}

fn parse_name(name: &str) -> Option<Timestamp> {
    let time = name.strip_suffix(SUFFIX)?;
    let parsed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S%.fZ", time).ok()?;
    let time = TimeZone::UTC.to_timestamp(parsed).ok()?;
    (segment_name(time) == name).then_some(time)
}

#[cfg(test)]
#[path = "segment_test.rs"]
mod tests;
