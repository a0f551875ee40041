//! What is worth a look among the files: one finding per path, with all its reasons.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::attempts::{Attempts, Found, Miss};
use super::content::{self, Bound, Known};
use super::file::regular;
use super::hidden;
use super::open::ANY_DEPTH;
use super::system::Attributes;
use super::walk::{Entry, Walker};
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::text::{self, Bytes};

/// Findings of one capture, and files that are copied for them; more are counted.
pub(super) const FINDINGS_MAX: usize = 20_000;
const FILES_MAX: usize = 5_000;

/// Bytes of all copied files.
const BYTES_MAX: u64 = 1 << 30;

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

impl File {
    /// Whether this is the file with these attributes.
    fn is(&self, attributes: &Attributes) -> bool {
        (self.device, self.inode) == (attributes.device, attributes.inode)
    }
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
    /// Of these, those that are in the bag, and what they are called there.
    pub(super) taken: BTreeMap<Vec<u8>, Name>,
    bytes: u64,
}

impl Findings {
    /// Adds a reason to a path.
    pub(super) fn add(&mut self, path: &[u8], reasons: Vec<String>, attributes: Option<&Attributes>) {
        if self.all.len() >= FINDINGS_MAX && !self.all.contains_key(path) {
            return self.drop_one();
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

    /// Counts one that was one too many.
    pub(super) fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
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
        let (mut files, mut more) = (Vec::new(), 0_u64);
        walker.again();
        walker.walk(&entry, ANY_DEPTH, &mut |below| {
            if !below.attributes.is_dir() && files.len() < FILES_MAX {
                files.push(below.path.clone());
            } else if !below.attributes.is_dir() {
                more += 1;
            }
            true
        });
        if more > 0 {
            let subject = format!("{more} more files below {}", text::escape(path));
            attempts.miss(subject, Miss::new(Outcome::OverBudget, "enough hidden files were copied"))?;
        }
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
        if self.copied.len() > FILES_MAX || self.bytes >= BYTES_MAX {
            return attempts.miss(subject, Miss::new(Outcome::OverBudget, "enough hidden files were copied"));
        }
        let attributes = match regular(&entry.fd, &walker.remote) {
            Ok(attributes) => attributes,
            Err(miss) => return attempts.miss(subject, miss),
        };
        let found = self.all.get(&entry.path).and_then(|finding| finding.file.as_ref());
        let lack = found.filter(|found| !found.is(&attributes)).map(|_| content::replaced());
        let room = attempts.room();
        let bytes = room.file.min(room.bytes).min(BYTES_MAX.saturating_sub(self.bytes));
        let bound = Bound { bytes, outcome: Outcome::Partial };
        let called = |suffix: &str| Name::file(&["files"], &[&entry.path, suffix.as_bytes()].concat());
        let known = Known { note: None, lack };
        let name = content::take_as(attempts, &subject, &called, &entry.fd, &attributes, bound, known)?;
        let size = room.bytes.saturating_sub(attempts.room().bytes);
        if let Some(name) = name {
            self.taken.insert(entry.path.clone(), name);
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
