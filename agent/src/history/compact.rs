//! Rewrites closed segments: the same lines in large frames, and an index beside them.
//!
//! This happens in a helper process of the lowest priority; the recorder does not wait for it. Whatever ends it, the
//! old segment stands until the new one is whole and on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::frame;
use super::index::{self, Builder, Index};
use super::segment::{self, Error, Segment, error};

/// A segment that is larger than this was not written by us.
const SEGMENT_MAX: u64 = 1 << 30;
/// The most that is cut off a segment's end as torn: more is damage, and left as it is.
const TORN_MAX: usize = 512 << 10;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Segments that were rewritten.
    pub segments: u64,
    /// Their bytes before.
    pub before: u64,
    /// Their bytes now, with their indexes.
    pub after: u64,
}

/// Compacts every segment of `folder` that is closed and has no index. One that cannot be is left as it is, and named in
/// the log.
pub fn all(folder: &Path) -> Result<Done, Error> {
    remove_leftovers(folder)?;
    let mut done = Done::default();
    for segment in segment::list(folder)? {
        match one(&segment) {
            Ok(None) => {}
            Ok(Some(after)) => {
                done.segments += 1;
                done.before = done.before.saturating_add(segment.bytes);
                done.after = done.after.saturating_add(after);
            }
            Err(failure) => tracing::warn!("{failure}; it stays as it is"),
        }
    }
    Ok(done)
}

/// The segments of `folder` that seem to wait for it: all without an index, but for the newest.
pub fn due(folder: &Path) -> Vec<PathBuf> {
    let segments = segment::list(folder).unwrap_or_default();
    let closed = segments.into_iter().rev().skip(1);
    closed.filter(|segment| !segment.index_path().exists()).map(|segment| segment.path).collect()
}

/// Compacts one segment; its bytes and its index's afterwards, `None` when there is nothing to do.
pub fn one(segment: &Segment) -> Result<Option<u64>, Error> {
    let path = &segment.path;
    let file = File::open(path).map_err(error("open", path))?;
    // Whoever writes it holds it.
    let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
    if index::open(segment).is_ok() {
        return Ok(None);
    }
    let mut old = Vec::new();
    Read::take(&*file, SEGMENT_MAX).read_to_end(&mut old).map_err(error("read", path))?;
    let Some(rest) = old.get(whole(&old)..) else { return Ok(None) };
    if rest.len() > TORN_MAX {
        return Err(error("compact", path)(io::Error::other("it is damaged in its middle")));
    }
    replace(segment, &old).map_err(error("compact", path)).map(Some)
}

fn replace(segment: &Segment, old: &[u8]) -> io::Result<u64> {
    let fresh = segment.path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let index = rewrite(old, &mut |frame| file.write_all(frame))?;
    file.sync_data()?;
    let index_path = segment.index_path();
    let fresh_index = index_path.with_extension("index.new");
    index::write(&fresh_index, &index).map_err(io::Error::other)?;
    // Between the two the index is not believed, for it is not this segment's.
    std::fs::rename(&fresh, &segment.path)?;
    std::fs::rename(&fresh_index, &index_path)?;
    if let Some(folder) = segment.path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file.metadata()?.len().saturating_add(std::fs::metadata(&index_path)?.len()))
}

/// Gives the lines of `old` to `write` in large frames; the index of those.
pub fn rewrite(old: &[u8], write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Index> {
    let mut compressor = frame::compressor()?;
    let mut builder = Builder::default();
    let mut lines: Vec<u8> = Vec::with_capacity(frame::COMPACT_BYTES);
    let mut seal = |lines: &mut Vec<u8>| {
        if lines.is_empty() {
            return Ok(());
        }
        let packed = compressor.compress(lines)?;
        builder.frame(&packed, lines);
        lines.clear();
        write(&packed)
    };
    for range in frame::frames(old) {
        lines.extend(frame::plain(old.get(range).unwrap_or_default())?);
        if lines.len() >= frame::COMPACT_BYTES {
            seal(&mut lines)?;
        }
    }
    lines.extend(frame::torn(old.get(whole(old)..).unwrap_or_default()));
    seal(&mut lines)?;
    builder.finish()
}

/// The index of a segment that is not compacted, made in memory.
pub fn look_through(bytes: &[u8]) -> io::Result<Index> {
    let mut builder = Builder::default();
    for range in frame::frames(bytes) {
        let packed = bytes.get(range).unwrap_or_default();
        builder.frame(packed, &frame::plain(packed)?);
    }
    // What stands whole in a torn frame is worth as much as the rest.
    let rest = bytes.get(whole(bytes)..).unwrap_or_default();
    if !rest.is_empty() {
        builder.frame(rest, &frame::torn(rest));
    }
    builder.finish()
}

/// How many bytes of a segment are whole frames.
pub(super) fn whole(segment: &[u8]) -> usize {
    frame::frames(segment).last().map_or(0, |range| range.end)
}

/// What a compactor that was killed has left, and indexes whose segment has gone.
fn remove_leftovers(folder: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(error("list", folder))? {
        let path = entry.map_err(error("list", folder))?.path();
        let is = |ending: &str| path.extension().is_some_and(|extension| extension == ending);
        let segment = path.with_extension("jsonl.zst");
        if is("new") || (is("index") && !segment.exists()) {
            std::fs::remove_file(&path).map_err(error("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "compact_test.rs"]
mod tests;
