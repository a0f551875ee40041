//! What is worth a look among the files: one finding per path, with all its reasons.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::attempts::{Attempts, Found, Miss};
use super::file::{regular, reopen, whole};
use super::hidden;
use super::system::Attributes;
use super::walk::{Entry, Walker};
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::text::{self, Bytes};

/// Findings of one capture, and files that are copied for them; more are counted.
const FINDINGS_MAX: usize = 20_000;
const FILES_MAX: usize = 5_000;

/// Bytes of all copied files.
const BYTES_MAX: u64 = 1 << 30;

/// How deep a hidden directory is copied.
const DEPTH: usize = 16;

/// One path, and what is odd about it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) path: Bytes,
    pub(super) reasons: Vec<String>,
    /// Whether it was (still) there.
    pub(super) exists: bool,
    #[serde(flatten)]
    pub(super) file: Option<File>,
    /// Where views of it do not agree: what each says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    views: Vec<hidden::View>,
}

/// A file's attributes, for people.
#[derive(Clone, Debug, Serialize)]
pub(super) struct File {
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    device: (u32, u32),
    inode: u64,
    links: u32,
    accessed: Option<Timestamp>,
    modified: Option<Timestamp>,
    changed: Option<Timestamp>,
    born: Option<Timestamp>,
}

impl From<&Attributes> for File {
    fn from(from: &Attributes) -> Self {
        let [accessed, modified, changed, born] = from.times.map(|time| {
            let (seconds, nanoseconds) = time?;
            Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
        });
        Self {
            kind: from.kind(),
            mode: format!("{:04o}", from.mode & 0o7777),
            uid: from.uid,
            gid: from.gid,
            size: from.size,
            device: from.device,
            inode: from.inode,
            links: from.links,
            accessed,
            modified,
            changed,
            born,
        }
    }
}

/// Findings in the making, and what is copied for them.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: BTreeMap<Vec<u8>, Finding>,
    dropped: u64,
    asked: BTreeSet<Vec<u8>>,
    copied: BTreeSet<Vec<u8>>,
    /// Of these, those that are in the bag.
    pub(super) taken: BTreeSet<Vec<u8>>,
    bytes: u64,
}

impl Findings {
    /// Adds a reason to a path.
    pub(super) fn add(&mut self, path: &[u8], reasons: Vec<String>, attributes: Option<&Attributes>) {
        if self.all.len() >= FINDINGS_MAX && !self.all.contains_key(path) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let finding = self.all.entry(path.to_vec()).or_insert_with(|| Finding {
            path: Bytes::from(path),
            reasons: Vec::new(),
            exists: attributes.is_some(),
            file: attributes.map(File::from),
            views: Vec::new(),
        });
        for reason in reasons {
            if !finding.reasons.contains(&reason) && finding.reasons.len() < 64 {
                finding.reasons.push(reason);
            }
        }
    }

    /// Adds what hides, with the evidence; a file of it is copied.
    pub(super) fn note(
        &mut self,
        noted: hidden::Finding,
        walker: &mut Walker,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Error> {
        let hidden::Finding { object, reason, mut views, file } = noted;
        let found = file.as_ref().and_then(|path| walker.find(path).ok());
        self.add(object.as_slice(), vec![reason.to_owned()], found.as_ref().map(|entry| &entry.attributes));
        if let Some(row) = self.all.get_mut(object.as_slice()) {
            // What is no file was there when it was looked at.
            row.exists |= file.is_none();
            views.retain(|view| !row.views.contains(view));
            row.views.append(&mut views);
        }
        match found {
            Some(entry) if !entry.attributes.is_dir() => self.copy(&entry.path, walker, attempts),
            _ => Ok(()),
        }
    }

    /// Copies what stands at `path`: a file, or all files below a directory.
    pub(super) fn copy(
        &mut self,
        path: &[u8],
        walker: &mut Walker,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Error> {
        if !self.asked.insert(path.to_vec()) {
            return Ok(());
        }
        let entry = match walker.find(path) {
            Ok(entry) => entry,
            Err(miss) => return attempts.miss(text::escape(path), miss),
        };
        if !entry.attributes.is_dir() {
            return self.file(&entry, walker, attempts);
        }
        let mut files = Vec::new();
        walker.again();
        walker.walk(&entry, DEPTH, &mut |below| {
            if !below.attributes.is_dir() && files.len() < FILES_MAX {
                files.push(below.path.clone());
            }
            true
        });
        for path in files {
            match walker.find(&path) {
                Ok(entry) => self.file(&entry, walker, attempts)?,
                Err(miss) => attempts.miss(text::escape(&path), miss)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry, walker: &Walker, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        if !self.copied.insert(entry.path.clone()) {
            return Ok(());
        }
        let subject = text::escape(&entry.path);
        let over = self.copied.len() > FILES_MAX || self.bytes >= BYTES_MAX;
        let left = BYTES_MAX.saturating_sub(self.bytes);
        let mut size = 0;
        let taken = attempts.take(subject, &Name::file(&["files"], &entry.path), |mut room| {
            if over {
                return Err(Miss::new(Outcome::OverBudget, "enough hidden files were copied"));
            }
            let attributes = regular(&entry.fd, &walker.remote)?;
            room.file = room.file.min(left);
            size = attributes.size.min(room.file);
            whole(reopen(&entry.fd)?, attributes.size, room)
        })?;
        if taken {
            self.taken.insert(entry.path.clone());
        }
        self.bytes = self.bytes.saturating_add(size);
        Ok(())
    }

    /// `findings.json`, with what was left out of the search.
    pub(super) fn finish(self, lack: Option<Miss>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        let rows: Vec<&Finding> = self.all.values().collect();
        let dropped = self.dropped;
        attempts.take("findings", &Name::data(&["hidden", "findings.json"]), |_| {
            let many = (dropped > 0).then(|| Miss::partial(format!("{dropped} findings were one too many")));
            Ok(Found::json(&rows)?.lacking(lack).lacking(many))
        })?;
        Ok(())
    }
}
