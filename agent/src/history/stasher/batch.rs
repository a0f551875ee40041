//! Files that are copied one by one, and named together.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::copy::{Content, Copier, Source};
use super::shelf::{ORDINARY, SUSPICIOUS, Shelf};
use super::{Error, Limits, error};

/// Up to so many new files are brought to the disk one by one; more by one order for the whole file system, which
/// may have to wait for other programs' files too.
const SINGLE_MAX: usize = 8;

/// Keeps files.
pub(super) struct Keeper {
    limits: Limits,
    shelf: Shelf,
    copier: Copier,
    number: u64,
    new: Vec<New>,
    new_hashes: HashSet<String>,
}

/// A copy that has no name yet.
struct New {
    file: File,
    incoming: PathBuf,
    sha256: String,
    suspicious: bool,
}

impl Keeper {
    pub(super) fn open(folder: &Path, limits: &Limits) -> Result<Self, Error> {
        Ok(Self {
            limits: limits.clone(),
            shelf: Shelf::open(folder, limits.bytes).map_err(error("open the stash", folder))?,
            copier: Copier::new().map_err(error("prepare a copy into", folder))?,
            number: 0,
            new: Vec::new(),
            new_hashes: HashSet::new(),
        })
    }

    /// Copies one file; it is in the stash once [`commit`](Self::commit) has succeeded.
    pub(super) fn keep(&mut self, source: &mut Source, suspicious: bool) -> Result<Content, Error> {
        if self.shelf.is_overfull() {
            return Err(Error::Held);
        }
        self.number = self.number.wrapping_add(1);
        let incoming = self.shelf.incoming(self.number);
        let Self { shelf, copier, new_hashes, limits, .. } = self;
        let mut is_there = |sha256: &str| new_hashes.contains(sha256) || shelf.touch(sha256);
        let mut make = || {
            let mut options = OpenOptions::new();
            let mode = if suspicious { SUSPICIOUS } else { ORDINARY };
            options.write(true).create(true).truncate(true).mode(mode);
            options.open(&incoming).map_err(error("make", &incoming))
        };
        match copier.copy(source, limits.file_bytes, &mut is_there, &mut make) {
            Ok((content, Some(file))) => {
                self.new_hashes.insert(content.sha256.clone());
                self.new.push(New { file, incoming, sha256: content.sha256.clone(), suspicious });
                Ok(content)
            }
            other => {
                remove(&incoming)?;
                other.map(|(content, _)| content)
            }
        }
    }

    /// Brings the copies to the disk, names them, makes room; returns what had to go.
    pub(super) fn commit(&mut self) -> Result<Vec<String>, Error> {
        let new = std::mem::take(&mut self.new);
        self.new_hashes.clear();
        let settled = self.settle(&new);
        if settled.is_err() {
            for one in new.iter().filter(|one| remove(&one.incoming).is_err()) {
                tracing::warn!("{} cannot be removed", one.incoming.display());
            }
        }
        settled
    }

    fn settle(&mut self, new: &[New]) -> Result<Vec<String>, Error> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let stash = Path::new("the stash");
        let folder = self.shelf.open_folder().map_err(error("open", stash))?;
        // An empty file under a name that promises a content would stand there for ever after a power cut.
        if new.len() <= SINGLE_MAX {
            new.iter().try_for_each(|one| one.file.sync_data().map_err(error("sync", &one.incoming)))?;
        } else {
            nix::unistd::syncfs(&folder).map_err(|errno| error("sync", stash)(errno.into()))?;
        }
        for one in new {
            let path = self.shelf.path(&one.sha256);
            let bytes = one.file.metadata().map_err(error("look at", &one.incoming))?.len();
            std::fs::rename(&one.incoming, &path).map_err(error("name", &path))?;
            self.shelf.add(&one.sha256, bytes, one.suspicious);
        }
        folder.sync_all().map_err(error("sync", stash))?;
        let spared: Vec<&str> = new.iter().map(|one| one.sha256.as_str()).collect();
        self.shelf.evict(&spared).map_err(error("make room in", stash))
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => Err(error("remove", path)(failure)),
        _ => Ok(()),
    }
}
