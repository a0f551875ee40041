//! A file's content into the bag, whatever its size: what ends it is the budget of the capture, never a cap of its own.

use std::os::fd::OwnedFd;

use serde::Serialize;

use super::attempts::{Attempts, Found, Miss};
use super::file::reopen;
use super::sparse::{Extent, Layout, extents};
use super::system::Attributes;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};

/// Which file: device, inode, and its last change (inode numbers are used again).
pub(super) type Key = ((u32, u32), u64, Option<(i64, u32)>);

pub(super) fn key(file: &Attributes) -> Key {
    (file.device, file.inode, file.changed())
}

/// Beside the data of a file with large holes.
#[derive(Serialize)]
struct Packed<'a> {
    /// Of the file.
    size: u64,
    /// Where the data belong, in the order in which they lie there; everything else is zeros.
    data: &'a [Extent],
}

/// Takes what the path descriptor stands for as `name` below `folders`; the name it has in the bag, if any of it is there. No
/// file may use more than half of what is left, so that there is room for what follows.
pub(super) fn take(
    attempts: &mut Attempts<'_>,
    subject: &str,
    folders: &[&str],
    name: &[u8],
    path: &OwnedFd,
    file: &Attributes,
    note: Option<String>,
) -> Result<Option<Name>, Error> {
    let limit = attempts.room().bytes / 2;
    let opened = match reopen(path) {
        Ok(opened) => opened,
        Err(miss) => return attempts.miss(subject, miss).map(|()| None),
    };
    let layout = Layout::new(file.size, &extents(&opened, file.size), limit);
    let packed = layout.packed.clone();
    let called = |suffix: &str| {
        let last = [name, suffix.as_bytes()].concat();
        let folders = folders.iter().map(|folder| folder.as_bytes());
        Name::data(&folders.chain([last.as_slice()]).collect::<Vec<_>>())
    };
    let kept = called(if packed.is_some() { ".data" } else { "" });
    let added = attempts.take(subject, &kept, |_| {
        let Layout { bytes, wanted, .. } = layout;
        let over = |detail: String| Miss::new(Outcome::OverBudget, detail);
        if bytes == 0 && wanted > 0 {
            return Err(over(format!("{wanted} bytes")));
        }
        let lack = (bytes < wanted).then(|| over(format!("the first {bytes} of {wanted} bytes")));
        let found = Found::stream(layout.read(opened), bytes).lacking(lack);
        Ok(note.into_iter().fold(found, Found::noting))
    })?;
    if added && let Some(data) = &packed {
        let packed = Packed { size: file.size, data };
        attempts
            .take(format!("{subject}: where its data belong"), &called(".json"), |_| Found::json(&packed))?;
    }
    Ok(added.then_some(kept))
}
