//! Files that are copied one by one, and named and answered together.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::copy::{Copier, Source};
use super::shelf::{ORDINARY, SUSPICIOUS, Shelf};
use super::{Answer, Ask, Error, Limits, error};
use crate::ipc;

/// Up to so many new files are brought to the disk one by one; more by one order for the whole file system, which
/// may have to wait for other programs' files too.
const SINGLE_MAX: usize = 8;

/// Keeps files.
pub(super) struct Keeper {
    limits: Limits,
    shelf: Shelf,
    copier: Copier,
    number: u64,
    answers: Vec<Answer>,
    new: Vec<New>,
    new_hashes: HashSet<String>,
}

/// A copy that has no name yet.
struct New {
    file: File,
    incoming: PathBuf,
    sha256: String,
    suspicious: bool,
    /// Its answer's place.
    answer: usize,
}

impl Keeper {
    pub(super) fn open(folder: &Path, limits: &Limits) -> Result<Self, Error> {
        Ok(Self {
            limits: limits.clone(),
            shelf: Shelf::open(folder, limits.bytes).map_err(error("open the stash", folder))?,
            copier: Copier::new().map_err(error("prepare a copy into", folder))?,
            number: 0,
            answers: Vec::new(),
            new: Vec::new(),
            new_hashes: HashSet::new(),
        })
    }

    /// Answers that wait.
    pub(super) fn waiting(&self) -> usize {
        self.answers.len()
    }

    /// Copies one file; the answer waits for [`commit`](Self::commit).
    pub(super) fn take(&mut self, ask: &Ask, files: Vec<OwnedFd>) {
        let Ask::File { ticket, .. } = *ask;
        let handle = files.into_iter().next().ok_or(Error::NoDescriptor);
        let answer = match handle.and_then(|handle| self.copy(ticket, &handle)) {
            Ok(answer) => answer,
            Err(failure) => {
                let again = !matches!(failure, Error::TooLarge(_));
                Answer::Failed { ticket, reason: failure.to_string(), again }
            }
        };
        self.answers.push(answer);
    }

    fn copy(&mut self, ticket: u64, handle: &OwnedFd) -> Result<Answer, Error> {
        if self.shelf.is_overfull() {
            return Err(Error::Held);
        }
        let mut source = Source::open(handle)?;
        let suspicious = true;
        self.number = self.number.wrapping_add(1);
        let incoming = self.shelf.incoming(self.number);
        let Self { shelf, copier, new_hashes, limits, .. } = self;
        let mut is_there = |sha256: &str| new_hashes.contains(sha256) || shelf.touch(sha256);
        let mut make = || {
            let mut options = OpenOptions::new();
            let mode = if suspicious { SUSPICIOUS } else { ORDINARY };
            options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(&incoming)
                .map_err(error("make", &incoming))
        };
        let copied = copier.copy(&mut source, limits.file_bytes, &mut is_there, &mut make);
        let is_new = matches!(copied, Ok((_, Some(_))));
        if !is_new {
            remove(&incoming)?;
        }
        let (content, file) = copied?;
        if let Some(file) = file {
            self.new_hashes.insert(content.sha256.clone());
            let answer = self.answers.len();
            self.new.push(New { file, incoming, sha256: content.sha256.clone(), suspicious, answer });
        }
        Ok(Answer::Kept { ticket, sha256: content.sha256, size: content.size, evicted: Vec::new() })
    }

    /// Brings the copies to the disk, names them, makes room, and answers.
    pub(super) fn commit(&mut self, channel: &ipc::Channel) -> Result<(), ipc::Error> {
        let new = std::mem::take(&mut self.new);
        self.new_hashes.clear();
        if let Err(failure) = self.settle(&new) {
            // Nothing of this batch is sure: the files are asked for again.
            for answer in &mut self.answers {
                let (Answer::Kept { ticket, .. }
                | Answer::Skipped { ticket, .. }
                | Answer::Failed { ticket, .. }) = *answer;
                *answer = Answer::Failed { ticket, reason: failure.to_string(), again: true };
            }
            new.iter().filter(|one| remove(&one.incoming).is_err()).for_each(|one| {
                tracing::warn!("{} cannot be removed", one.incoming.display());
            });
        }
        self.answers.drain(..).try_for_each(|answer| channel.send(&answer, &[]))
    }

    fn settle(&mut self, new: &[New]) -> Result<(), Error> {
        if new.is_empty() {
            return Ok(());
        }
        let folder = self.shelf.open_folder().map_err(error("open", Path::new("the stash")))?;
        // An empty file under a name that promises a content would stand there for ever after a power cut.
        if new.len() <= SINGLE_MAX {
            new.iter().try_for_each(|one| one.file.sync_data().map_err(error("sync", &one.incoming)))?;
        } else {
            nix::unistd::syncfs(&folder)
                .map_err(|errno| error("sync", Path::new("the stash"))(errno.into()))?;
        }
        for one in new {
            let path = self.shelf.path(&one.sha256);
            let bytes = one.file.metadata().map_err(error("look at", &one.incoming))?.len();
            std::fs::rename(&one.incoming, &path).map_err(error("name", &path))?;
            self.shelf.add(&one.sha256, bytes, one.suspicious);
        }
        folder.sync_all().map_err(error("sync", Path::new("the stash")))?;
        let spared: Vec<&str> = new.iter().map(|one| one.sha256.as_str()).collect();
        let gone = self.shelf.evict(&spared).map_err(error("make room in", Path::new("the stash")))?;
        let first = new.first().and_then(|one| self.answers.get_mut(one.answer));
        if let Some(Answer::Kept { evicted, .. }) = first {
            *evicted = gone;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => Err(error("remove", path)(failure)),
        _ => Ok(()),
    }
}
