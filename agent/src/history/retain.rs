//! What has to go, and who holds it back.
//!
//! A capture that runs holds the segments it will copy: it locks, in the file `holds`, the bytes whose numbers are the
//! seconds of its window. The kernel lets go of the lock when the capture ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::segment::{self, Error, Segment, error};
use super::writer::Writer;

const HOLDS: &str = "holds";

/// A part of the history that is not removed as long as this lives.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Hold {
    /// Holds every segment with events at or after `since`.
    pub fn take(folder: &Path, since: Timestamp) -> Result<Self, Error> {
        let path = folder.join(HOLDS);
        let file = open(&path).map_err(error("hold", &path))?;
        let lock = range(libc::F_RDLCK, since, None);
        fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).map_err(|errno| error("hold", &path)(errno.into()))?;
        Ok(Self { _file: file })
    }
}

/// What was removed, and what would have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments that are gone.
    pub removed: u64,
    /// Segments that had to go, and stay as long as a capture holds them.
    pub held: u64,
}

impl Writer {
    /// Removes the oldest closed segments, with their indexes, until the rest fits `bytes` and is younger than `oldest`.
    pub fn retain(&self, bytes: u64, oldest: Timestamp) -> Result<Retained, Error> {
        let segments = segment::list(self.folder())?;
        let size = |segment: &Segment| segment.bytes.saturating_add(length(&segment.index_path()));
        let mut total: u64 = segments.iter().map(size).sum();
        let holds_path = self.folder().join(HOLDS);
        let holds = open(&holds_path).map_err(error("open", &holds_path))?;
        let mut retained = Retained::default();
        // A segment's newest event is older than the beginning of the next one.
        let ends = segments.iter().skip(1).map(|next| next.begins);
        for (segment, end) in segments.iter().zip(ends) {
            if total <= bytes && end >= oldest {
                break;
            }
            // After a step of the clock it need not be the newest one.
            if Some(segment.path.as_path()) == self.current() {
                continue;
            }
            let held = is_held(&holds, segment.begins, end);
            if held.map_err(|errno| error("ask who holds", &segment.path)(errno.into()))? {
                retained.held += 1;
                continue;
            }
            std::fs::remove_file(&segment.path).map_err(error("remove a segment of", &segment.path))?;
            // One that is left over is found by the compactor.
            drop(std::fs::remove_file(segment.index_path()));
            total = total.saturating_sub(size(segment));
            retained.removed += 1;
        }
        Ok(retained)
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_held(holds: &File, begins: Timestamp, ends: Timestamp) -> Result<bool, Errno> {
    let mut lock = range(libc::F_WRLCK, begins, Some(ends));
    fcntl(holds, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// The seconds from `from` to `to`, or to the end of time, as bytes of a file.
fn range(kind: i32, from: Timestamp, to: Option<Timestamp>) -> libc::flock {
    let start = from.as_second().max(0);
    // 0 is "to the end".
    let length = to.map_or(0, |to| to.as_second().saturating_sub(start).max(0).saturating_add(1));
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: start,
        l_len: length,
        l_pid: 0,
    }
}

#[cfg(test)]
#[path = "retain_test.rs"]
mod tests;
