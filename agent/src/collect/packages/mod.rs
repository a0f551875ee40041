//! What is installed, and whether the files of running executables and of persistence are still what their packages
//! brought.

pub(super) mod digest;
mod known;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::file::regular;
use super::findings::File;
use super::names::split;
use super::system::Attributes;
use super::walk::{Entry, Walker};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::history::packages::Packages;
use crate::text::Bytes;

pub(super) use known::{Known, know};
pub(super) use running::{Running, running};

/// Bytes of one file that is hashed, and of all.
const FILE_MAX: u64 = 512 << 20;
const ALL_MAX: u64 = 8 << 30;

/// Whether a file is what its package brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// By the package's own sum.
    Matches,
    /// It is not.
    Changed,
    /// The package has no sum of it, but it is root's and was not changed after it was installed.
    Unchanged,
    /// No package has it, or it could not be compared.
    Unknown,
}

/// A file, and what the package managers say of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Judged {
    #[serde(flatten)]
    file: File,
    sha256: Option<String>,
    /// Which package has it.
    pub(super) package: Option<Bytes>,
    pub(super) content: Content,
    #[serde(skip)]
    pub(super) attributes: Attributes,
}

impl Judged {
    /// Whether it is a package's, as that brought it.
    pub(super) fn is_trusted(&self) -> bool {
        matches!(self.content, Content::Matches | Content::Unchanged)
    }
}

/// What is known of the host's files.
#[derive(Debug)]
pub(super) struct Inventory {
    known: Known,
    owners: Packages,
    until: Instant,
    left: u64,
    pub(super) files: BTreeMap<Vec<u8>, Judged>,
    running: BTreeMap<Vec<u8>, Running>,
    persistent: BTreeSet<Vec<u8>>,
    over: u64,
}

impl Inventory {
    pub(super) fn new(
        known: Known,
        owners: Packages,
        until: Instant,
        running: BTreeMap<Vec<u8>, Running>,
    ) -> Self {
        Self {
            known,
            owners,
            until,
            left: ALL_MAX,
            files: BTreeMap::new(),
            running,
            persistent: BTreeSet::new(),
            over: 0,
        }
    }

    /// Whether there is a database that we understand.
    pub(super) fn is_understood(&self) -> bool {
        self.known.understood
    }

    /// Looks at a file of persistence, once.
    pub(super) fn judge(&mut self, path: &[u8], walker: &Walker) {
        self.persistent.insert(path.to_vec());
        let (folder, name) = split(path);
        let entry = walker.find(folder).and_then(|folder| walker.child(&folder, name));
        if let Ok(entry) = entry {
            self.look(&entry, walker);
        }
    }

    fn look(&mut self, entry: &Entry, walker: &Walker) {
        if self.files.contains_key(&entry.path) {
            return;
        }
        let attributes = entry.attributes;
        let record = self.known.of(&entry.path);
        let package = record.map(|record| Bytes::from(&record.package));
        let sum = record.and_then(|record| record.sum);
        let fits = attributes.size <= FILE_MAX.min(self.left) && Instant::now() < self.until;
        let hashed = match regular(&entry.fd, &walker.remote) {
            Ok(_) if !fits => {
                self.over = self.over.saturating_add(1);
                None
            }
            Ok(_) => digest::digest(&entry.fd, sum, self.until).ok(),
            Err(_) => None,
        };
        if hashed.is_some() {
            self.left = self.left.saturating_sub(attributes.size);
        }
        let content = match hashed.as_ref().and_then(|hashed| hashed.matches) {
            Some(true) => Content::Matches,
            Some(false) => Content::Changed,
            None if package.is_some() && self.owners.own(&entry.path, &attributes) => Content::Unchanged,
            None => Content::Unknown,
        };
        let sha256 = hashed.map(|hashed| hashed.sha256);
        let file = File::from(&attributes);
        self.files.insert(entry.path.clone(), Judged { file, sha256, package, content, attributes });
    }
}

/// One line of `files.jsonl`.
#[derive(Serialize)]
struct Row<'a> {
    path: Bytes,
    /// `running`, `persistence`.
    used_by: Vec<&'static str>,
    #[serde(flatten)]
    running: Option<&'a Running>,
    /// Nothing where it is not there (any more).
    #[serde(flatten)]
    judged: Option<&'a Judged>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let Some(mut inventory) = context.inventory.take() else { return Ok(()) };
    let places = &context.job.places;
    let walker = Walker::new(&places.root, &places.proc, 0, inventory.until);
    let running: Vec<Vec<u8>> = inventory.running.keys().cloned().collect();
    for path in &running {
        if let Ok(entry) = walker.resolve(path) {
            inventory.look(&entry, &walker);
        }
    }
    for (subject, miss) in std::mem::take(&mut inventory.known.misses) {
        attempts.miss(subject, miss)?;
    }
    attempts.take("installed packages", &Name::data(&["packages", "installed.jsonl"]), |_| {
        if inventory.known.packages.is_empty() {
            return Err(Miss::refused("no package database that is understood"));
        }
        lines(inventory.known.packages.iter()).map(Found::bytes)
    })?;
    let over = inventory.over;
    attempts.take("files and their packages", &Name::data(&["packages", "files.jsonl"]), |_| {
        let paths: BTreeSet<&Vec<u8>> = inventory.running.keys().chain(&inventory.persistent).collect();
        let rows = paths.into_iter().map(|path| {
            let running = inventory.running.get(path);
            let uses = [(running.is_some(), "running"), (inventory.persistent.contains(path), "persistence")];
            let used_by = uses.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
            Row { path: Bytes::from(path), used_by, running, judged: inventory.files.get(path) }
        });
        let lack = (over > 0)
            .then(|| Miss::partial(format!("{over} files were too large or too many to be hashed")));
        Ok(Found::bytes(lines(rows)?).lacking(lack))
    })?;
    Ok(())
}

/// JSON Lines.
pub(super) fn lines(rows: impl Iterator<Item = impl Serialize>) -> Result<Vec<u8>, Miss> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, &row)
            .map_err(|error| Miss::refused(format!("write as JSON: {error}")))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "packages_test.rs"]
mod tests;
