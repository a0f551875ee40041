//! Segments on disk: JSON Lines in independent zstd frames, so that `zstd -dc FILE | jq` reads them.
//!
//! A segment's name is the time of its first event, so names sort by time. What [`super::writer`] closed,
//! [`super::compact`] rewrites into larger frames, line for line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::frame;
use crate::event::Event;

/// The longest line that is read back; an event is far shorter.
pub(super) const LINE_MAX: usize = 1 << 20;
/// Memory a frame may ask of the reader: 8 MiB of window.
pub(super) const WINDOW_LOG_MAX: u32 = 23;
/// What is read of one segment at a start; our own are some MiB.
const BACK_MAX: u64 = 64 << 20;
const SUFFIX: &str = ".jsonl.zst";

/// Why the history could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} the history {path}: {source}")]
pub struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

pub(super) fn error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { step, path, source }
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

impl Segment {
    /// Where its index is, once it is compacted.
    pub fn index_path(&self) -> PathBuf {
        self.path.with_extension("").with_extension("index")
    }
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

/// Gives events, those of the newest frame first, until `sink` has enough (`false`). Damaged frames are passed over.
pub fn read_back(segments: &[Segment], sink: &mut dyn FnMut(Event) -> bool) -> Result<(), Error> {
    for segment in segments.iter().rev() {
        let path = &segment.path;
        let file = File::open(path).map_err(error("open", path))?;
        let mut bytes = Vec::new();
        file.take(BACK_MAX).read_to_end(&mut bytes).map_err(error("read", path))?;
        let mut ranges: Vec<_> = frame::frames(&bytes).collect();
        let whole = ranges.last().map_or(0, |range| range.end);
        ranges.push(whole..bytes.len());
        for range in ranges.into_iter().rev() {
            let packed = bytes.get(range).unwrap_or_default();
            let plain = frame::plain(packed).unwrap_or_else(|_| frame::torn(packed));
            let mut enough = false;
            for event in frame::lines(&plain).filter_map(|line| serde_json::from_slice(line).ok()) {
                enough |= !sink(event);
            }
            if enough {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads a segment file; see [`read`].
pub fn read_file(path: &Path, sink: &mut dyn FnMut(Event)) -> Result<End, Error> {
    let file = File::open(path).map_err(error("open", path))?;
    read(file, sink).map_err(error("read", path))
}

pub(super) fn segment_name(time: Timestamp) -> String {
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
