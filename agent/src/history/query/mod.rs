//! Questions to the whole history, answered from the indexes: only the frames concerned are read.

mod lineage;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use jiff::Timestamp;

use super::compact::look_through;
use super::frame;
use super::index::{self, Frame, Index, Line, Term};
use super::segment::{self, Error, Segment, error};
use crate::event::{Event, ProcessId};

/// The part of a segment that is read where there is no index; our own are some MiB.
const SEGMENT_MAX: u64 = 256 << 20;

/// A segment with its index, made on the spot where it has none.
#[derive(Debug)]
struct Volume {
    segment: Segment,
    index: Index,
    /// Open where it may still be compacted: the path would then lead to other frames.
    file: Option<File>,
}

/// The history from some time on.
#[derive(Debug, Default)]
pub struct Library {
    volumes: Vec<Volume>,
    /// Segments that cannot be read, in words.
    pub unreadable: Vec<String>,
}

/// A frame of a [`Library`]; the later, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    volume: usize,
    frame: u32,
}

impl Library {
    /// The segments of `folder` that may hold events at or after `since`.
    pub fn open(folder: &Path, since: Timestamp) -> Result<Self, Error> {
        let segments = segment::list(folder)?;
        let mut library = Self::default();
        for segment in segment::since(&segments, since) {
            match volume(segment) {
                Ok(volume) => library.volumes.push(volume),
                Err(failure) => library.unreadable.push(failure.to_string()),
            }
        }
        Ok(library)
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.volumes.len()
    }

    /// All frames with events between these times, oldest first.
    pub fn between(&self, since: Timestamp, until: Timestamp) -> Vec<Place> {
        let within = |frame: &Frame| frame.events > 0 && frame.last >= since && frame.first <= until;
        self.all().filter(|(_, frame)| within(frame)).map(|(place, _)| place).collect()
    }

    /// The frames with events of `processes`, oldest first.
    pub fn of(&self, processes: &HashSet<ProcessId>) -> Vec<Place> {
        let numbered = self.volumes.iter().enumerate();
        let places = numbered.flat_map(|(volume, Volume { index, .. })| {
            index.of(processes).into_iter().map(move |frame| Place { volume, frame })
        });
        places.collect()
    }

    /// The frames in which any of `processes` was born, or first seen.
    pub fn born(&self, processes: &HashSet<ProcessId>) -> Vec<Place> {
        let numbered = self.volumes.iter().enumerate();
        let places = numbered.flat_map(|(volume, Volume { index, .. })| {
            index.born(processes).into_iter().map(move |frame| Place { volume, frame })
        });
        places.collect()
    }

    /// For each of `terms` the frames in which it may be.
    pub fn with(&self, terms: &[Term]) -> Vec<Vec<Place>> {
        let mut found = vec![Vec::new(); terms.len()];
        for (volume, Volume { index, .. }) in self.volumes.iter().enumerate() {
            for (places, frames) in found.iter_mut().zip(index.with(terms)) {
                places.extend(frames.into_iter().map(|frame| Place { volume, frame }));
            }
        }
        found
    }

    /// The times between which the events of a frame are.
    pub fn span(&self, place: Place) -> Option<(Timestamp, Timestamp)> {
        let frame = self.frame(place)?;
        Some((frame.first, frame.last))
    }

    /// Gives the events of a frame that `wanted` wants, in the order in which they were written.
    pub fn read(
        &self,
        place: Place,
        wanted: &dyn Fn(&Line<'_>) -> bool,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Error> {
        let (Some(volume), Some(frame)) = (self.volumes.get(place.volume), self.frame(place)) else {
            return Ok(());
        };
        let path = &volume.segment.path;
        let mut packed = vec![0; usize::try_from(frame.bytes).unwrap_or_default()];
        let opened;
        let file = if let Some(file) = &volume.file {
            file
        } else {
            opened = File::open(path).map_err(error("open", path))?;
            &opened
        };
        file.read_exact_at(&mut packed, frame.offset).map_err(error("read", path))?;
        let plain = frame::plain(&packed).unwrap_or_else(|_| frame::torn(&packed));
        for line in frame::lines(&plain) {
            if Line::parse(line).is_some_and(|line| wanted(&line))
                && let Ok(event) = serde_json::from_slice(line)
            {
                sink(event);
            }
        }
        Ok(())
    }

    fn frame(&self, place: Place) -> Option<&Frame> {
        self.volumes.get(place.volume)?.index.frames.get(usize::try_from(place.frame).ok()?)
    }

    fn all(&self) -> impl Iterator<Item = (Place, &Frame)> {
        self.volumes.iter().enumerate().flat_map(|(volume, Volume { index, .. })| {
            (0..).zip(&index.frames).map(move |(frame, found)| (Place { volume, frame }, found))
        })
    }
}

fn volume(segment: &Segment) -> Result<Volume, Error> {
    if let Ok(index) = index::open(segment) {
        return Ok(Volume { segment: segment.clone(), index, file: None });
    }
    let path = &segment.path;
    let file = File::open(path).map_err(error("open", path))?;
    let mut bytes = Vec::new();
    (&file).take(SEGMENT_MAX).read_to_end(&mut bytes).map_err(error("read", path))?;
    let index = look_through(&bytes).map_err(error("look through", path))?;
    Ok(Volume { segment: segment.clone(), index, file: Some(file) })
}

#[cfg(test)]
mod test;
