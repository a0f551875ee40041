//! A file's content into the bag, whatever its size: what ends it is the budget of the capture, never a cap of its own.

use std::os::fd::OwnedFd;

use serde::Serialize;

use super::attempts::{Attempts, Found, Miss};
use super::file::reopen;
use super::open::Stays;
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

/// How much of a file is taken, and what is said of the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) bytes: u64,
    pub(super) outcome: Outcome,
}

/// What is known of a file before it is read.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// A remark.
    pub(super) note: Option<String>,
    /// What is wrong with it, though it is taken.
    pub(super) lack: Option<Miss>,
}

/// What is said of a file that is taken under a name that stood for another one when it was listed.
pub(super) fn replaced() -> Miss {
    Miss::new(Outcome::IdentityChanged, "another file has this name since it was listed; this is the new one")
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
    let bound = Bound { bytes: attempts.room().bytes / 2, outcome: Outcome::OverBudget };
    let called = |suffix: &str| {
        let last = [name, suffix.as_bytes()].concat();
        let folders = folders.iter().map(|folder| folder.as_bytes());
        Name::data(&folders.chain([last.as_slice()]).collect::<Vec<_>>())
    };
    take_as(attempts, subject, &called, path, file, bound, Known { note, lack: None })
}

/// The same, by the name that `called` gives it with a suffix, and at most so much of it.
pub(super) fn take_as(
    attempts: &mut Attempts<'_>,
    subject: &str,
    called: &dyn Fn(&str) -> Name,
    path: &OwnedFd,
    file: &Attributes,
    bound: Bound,
    known: Known,
) -> Result<Option<Name>, Error> {
    let opened = match reopen(path) {
        Ok(opened) => opened,
        Err(miss) => return attempts.miss(subject, miss).map(|()| None),
    };
    let layout = Layout::new(file.size, &extents(&opened, file.size), bound.bytes);
    let packed = layout.packed.clone();
    let kept = called(if packed.is_some() { ".data" } else { "" });
    let stays = Stays::new(&opened, file);
    let find = |_| {
        let Layout { bytes, wanted, .. } = layout;
        if bytes == 0 && wanted > 0 {
            return Err(Miss::new(Outcome::OverBudget, format!("{wanted} bytes")));
        }
        let lack = || Miss::new(bound.outcome, format!("the first {bytes} of {wanted} bytes"));
        let lack = known.lack.or_else(|| (bytes < wanted).then(lack));
        let found = Found::stream(layout.read(opened), bytes).lacking(lack);
        Ok(known.note.into_iter().fold(found, Found::noting))
    };
    let added = attempts.take_and_judge(subject, &kept, find, || stays.remark())?;
    if added && let Some(data) = &packed {
        let packed = Packed { size: file.size, data };
        attempts
            .take(format!("{subject}: where its data belong"), &called(".json"), |_| Found::json(&packed))?;
    }
    Ok(added.then_some(kept))
}

#[cfg(test)]
#[path = "content_test.rs"]
mod tests;
