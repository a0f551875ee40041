//! What a container has changed of its image: all that is in its writable layer, as overlayfs lays it down.

use std::time::Instant;

use nix::sys::stat::fstat;
use serde::Serialize;

use crate::bundle::Outcome;
use crate::collect::attempts::{Found, Miss};
use crate::collect::file::regular;
use crate::collect::findings::File;
use crate::collect::open::ANY_DEPTH;
use crate::collect::packages::digest::digest;
use crate::collect::system::xattr;
use crate::collect::walk::{Entry, Walker};
use crate::text::{self, Bytes};

/// Changes of one container, and of all; bytes of one file that is hashed, and of all.
const CHANGES_MAX: usize = 50_000;
const ALL_CHANGES_MAX: usize = 200_000;
const FILE_MAX: u64 = 256 << 20;
const BYTES_MAX: u64 = 2 << 30;
/// fuse-overlayfs (and aufs) put a file of such a name where they cannot make a device.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is left for the next one.
#[derive(Debug)]
pub(super) struct Room {
    changes: usize,
    bytes: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { changes: ALL_CHANGES_MAX, bytes: BYTES_MAX }
    }
}

/// One path, as the container sees it.
#[derive(Debug, Serialize)]
struct Row {
    path: Bytes,
    /// `added`, `changed`, `deleted`; `written` where the image's layers could not be looked at.
    change: &'static str,
    /// Whether nothing of the image shows below it any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    opaque: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Of what was laid down: for a deletion, when that was.
    #[serde(flatten)]
    file: File,
}

/// The name of a container's folder in the bag.
pub(super) fn folder(id: &str) -> String {
    if id.is_empty() { "unnamed".to_owned() } else { id.to_owned() }
}

/// A line for each entry of the layer.
pub(super) fn changes(
    upper: &[u8],
    lower: &[Vec<u8>],
    walker: &mut Walker,
    room: &mut Room,
) -> Result<Found<'static>, Miss> {
    let top = walker.resolve(upper)?;
    let prefix = top.path.len();
    let image: Vec<Entry> = lower.iter().filter_map(|path| walker.resolve(path).ok()).collect();
    let image = (!lower.is_empty() && image.len() == lower.len()).then_some(image);
    let mut entries: Vec<(Vec<u8>, Kind)> = Vec::new();
    let most = CHANGES_MAX.min(room.changes);
    let mut more = 0_usize;
    walker.again();
    walker.walk(&top, ANY_DEPTH, &mut |entry| {
        if entries.len() < most {
            entries.push((entry.path.clone(), kind(entry)));
        } else {
            more = more.saturating_add(1);
        }
        true
    });
    entries.sort_unstable_by(|one, two| one.0.cmp(&two.0));
    room.changes = room.changes.saturating_sub(entries.len());
    let (mut lines, mut unhashed, mut last) = (Vec::new(), 0_usize, None);
    let (count, mut done) = (entries.len(), 0_usize);
    for (path, kind) in entries {
        if Instant::now() >= walker.until {
            walker.stop(&path);
            more = more.saturating_add(count.saturating_sub(done));
            break;
        }
        done = done.saturating_add(1);
        let Ok(entry) = walker.find_any(&path) else { continue };
        let below = path.get(prefix..).unwrap_or_default();
        let (below, change) = match kind {
            Kind::OpaqueMark => continue,
            Kind::Deletion => (below.to_vec(), "deleted"),
            Kind::NamedDeletion => (unnamed(below), "deleted"),
            _ => (below.to_vec(), of_image(walker, image.as_deref(), below)),
        };
        let sha256 = (change != "deleted" && entry.attributes.is_file())
            .then(|| hash(&entry, walker, room, &mut unhashed))
            .flatten();
        let opaque = matches!(kind, Kind::Opaque);
        let change = Row { path: Bytes(below), change, opaque, sha256, file: File::from(&entry.attributes) };
        serde_json::to_writer(&mut lines, &change)
            .map_err(|error| Miss::refused(format!("write as JSON: {error}")))?;
        lines.push(b'\n');
        last = Some(path);
    }
    let mut lacks = Vec::new();
    if more > 0 {
        lacks.push(format!("{more} more changes are not listed"));
    }
    if walker.is_stopped() {
        let at = last.map(|path| text::escape(&path)).unwrap_or_default();
        lacks.push(format!("the bound of entries or time was reached, at {at}"));
    }
    if unhashed > 0 {
        lacks.push(format!("{unhashed} files were not hashed: too large, too many, or not to be read"));
    }
    let lack = (!lacks.is_empty()).then(|| Miss::new(Outcome::Partial, lacks.join("; ")));
    Ok(Found::bytes(lines).lacking(lack).noting(format!("of {}", text::escape(upper))))
}

/// What an entry of a layer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Content,
    Opaque,
    /// A device 0/0, or an empty file that is marked.
    Deletion,
    /// A file whose name says which one is deleted,
    NamedDeletion,
    /// or that its directory is opaque.
    OpaqueMark,
}

fn kind(entry: &Entry) -> Kind {
    let has = |name| xattr(&entry.fd, name);
    if entry.attributes.mode & libc::S_IFMT == libc::S_IFCHR {
        let device = fstat(&entry.fd).map(|found| found.st_rdev);
        return if device == Ok(0) { Kind::Deletion } else { Kind::Content };
    }
    if entry.name() == OPAQUE {
        return Kind::OpaqueMark;
    }
    if entry.name().starts_with(WHITEOUT) && entry.attributes.is_file() {
        return Kind::NamedDeletion;
    }
    if entry.attributes.is_file() && entry.attributes.size == 0 {
        let marked = [c"trusted.overlay.whiteout", c"user.overlay.whiteout"]
            .into_iter()
            .any(|name| has(name).is_some());
        return if marked { Kind::Deletion } else { Kind::Content };
    }
    let opaque = [c"trusted.overlay.opaque", c"user.overlay.opaque"]
        .into_iter()
        .any(|name| has(name).is_some_and(|value| value == b"y"));
    if entry.attributes.is_dir() && opaque { Kind::Opaque } else { Kind::Content }
}

/// The path whose deletion a file `.wh.NAME` stands for.
fn unnamed(path: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at.saturating_add(1));
    let (folder, name) = path.split_at(at);
    [folder, name.strip_prefix(WHITEOUT).unwrap_or(name)].concat()
}

/// Whether the image had something of this name.
fn of_image(walker: &Walker, image: Option<&[Entry]>, path: &[u8]) -> &'static str {
    let Some(image) = image else { return "written" };
    for layer in image {
        match of_layer(walker, layer, path) {
            Some(true) => return "changed",
            Some(false) => return "added",
            None => {}
        }
    }
    "added"
}

/// Whether one layer has it, or hides what the layers below have; nothing where it says neither.
fn of_layer(walker: &Walker, layer: &Entry, path: &[u8]) -> Option<bool> {
    let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).peekable();
    let mut at: Option<Entry> = None;
    let mut hides = false;
    while let Some(name) = names.next() {
        let folder = at.as_ref().unwrap_or(layer);
        let Ok(entry) = walker.child(folder, name) else { return hides.then_some(false) };
        match kind(&entry) {
            Kind::Deletion => return Some(false),
            _ if names.peek().is_none() => return Some(true),
            kind if entry.attributes.is_dir() => hides |= kind == Kind::Opaque,
            // A file stands where a directory would have to be.
            _ => return Some(false),
        }
        at = Some(entry);
    }
    None
}

fn hash(entry: &Entry, walker: &Walker, room: &mut Room, unhashed: &mut usize) -> Option<String> {
    let size = entry.attributes.size;
    let fits = size <= FILE_MAX.min(room.bytes) && Instant::now() < walker.until;
    let hashed = (fits && regular(&entry.fd, &walker.remote).is_ok())
        .then(|| digest(&entry.fd, None, walker.until).ok())
        .flatten();
    if hashed.is_some() {
        room.bytes = room.bytes.saturating_sub(size);
    } else {
        *unhashed = unhashed.saturating_add(1);
    }
    hashed.map(|hashed| hashed.sha256)
}
