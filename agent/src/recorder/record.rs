//! What the recorder remembers of each capture, one small file each, so that a restart forgets nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bundle::seal::{self, Sealed};
use crate::capture::job::Job;
use crate::collect::Progress;
use crate::ipc::message::{BundleState, CaptureState, Stage};

/// Captures that are remembered; the oldest are forgotten (their bundles stay).
const RECORDS_MAX: usize = 10_000;
/// A record, or a job, is a page; a trigger's body makes a job larger.
const FILE_MAX: u64 = 4 << 20;

/// One capture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// As it is shown.
    pub(super) state: CaptureState,
    /// Alerts of this sender with this key are the same alert.
    pub(super) dedup_key: Option<String>,
    /// The signed message that asked for it, with the name of the secret that signed it.
    pub(super) message: Option<String>,
    /// Whether its bundle is in the store, and not in a directory of the user's.
    pub(super) in_store: bool,
}

impl Record {
    /// The record of a capture that has just been accepted.
    pub(super) fn new(job: &Job, message: Option<String>) -> Self {
        let state = CaptureState {
            id: job.id,
            accepted: job.accepted,
            sender: job.trigger.sender.clone(),
            rule: job.trigger.rule.clone(),
            stage: Stage::Queued,
            detail: None,
            done: 0,
            total: 0,
            bytes: 0,
            bundle: None,
        };
        Self { state, dedup_key: job.trigger.dedup_key.clone(), message, in_store: true }
    }
}

/// All that are remembered.
pub(super) struct Records {
    folder: PathBuf,
    all: BTreeMap<Uuid, Record>,
    alerts: HashMap<(String, String), Uuid>,
    messages: HashMap<String, Uuid>,
}

impl Records {
    /// Reads them back. A file that is not a record is left alone and named in the log.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut records = Self {
            folder: folder.to_owned(),
            all: BTreeMap::new(),
            alerts: HashMap::new(),
            messages: HashMap::new(),
        };
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read::<Record>(&path) {
                Ok(record) => records.remember(record),
                Err(failure) => tracing::warn!("{} is not a capture's record: {failure}", path.display()),
            }
        }
        Ok(records)
    }

    /// Remembers a new capture, on disk first.
    pub(super) fn keep(&mut self, record: Record) -> io::Result<()> {
        self.write(&record)?;
        self.remember(record);
        while self.all.len() > RECORDS_MAX
            && let Some((id, oldest)) = self.all.pop_first()
        {
            let sender = oldest.state.sender;
            oldest.dedup_key.map(|key| self.alerts.remove(&(sender, key)));
            oldest.message.map(|message| self.messages.remove(&message));
            std::fs::remove_file(self.path(id))?;
        }
        Ok(())
    }

    /// One capture.
    pub(super) fn get(&self, id: &Uuid) -> Option<&Record> {
        self.all.get(id)
    }

    /// All, newest first.
    pub(super) fn states(&self) -> impl Iterator<Item = &CaptureState> {
        self.all.values().rev().map(|record| &record.state)
    }

    /// The capture that this alert asked for before. One that failed is none: the alert may ask again.
    pub(super) fn by_alert(&self, sender: &str, key: &str) -> Option<Uuid> {
        let id = self.alerts.get(&(sender.to_owned(), key.to_owned()))?;
        let failed = self.get(id).is_some_and(|record| record.state.stage == Stage::Failed);
        (!failed).then_some(*id)
    }

    /// Whether this signed message was accepted before, by whatever path it came.
    pub(super) fn has_message(&self, message: &str) -> bool {
        self.messages.contains_key(message)
    }

    /// Those of an earlier recorder that have neither a bundle nor a failure.
    pub(super) fn unsettled(&self) -> Vec<(Uuid, bool)> {
        let open = |record: &&Record| !matches!(record.state.stage, Stage::Sealed | Stage::Failed);
        self.all.values().filter(open).map(|record| (record.state.id, record.in_store)).collect()
    }

    /// Where it is; kept in memory only, a restart finds it out by itself.
    pub(super) fn stage(&mut self, id: Uuid, stage: Stage) {
        if let Some(record) = self.all.get_mut(&id) {
            record.state.stage = stage;
        }
    }

    /// How far it is.
    pub(super) fn progress(&mut self, id: Uuid, progress: &Progress) {
        if let Some(record) = self.all.get_mut(&id) {
            let state = &mut record.state;
            state.detail = Some(progress.collection.clone());
            (state.done, state.total, state.bytes) = (progress.done, progress.total, progress.bytes);
        }
    }

    /// How it ended.
    pub(super) fn ended(&mut self, id: Uuid, outcome: &Result<Sealed, String>) -> io::Result<()> {
        let Some(record) = self.all.get_mut(&id) else { return Ok(()) };
        match outcome {
            Ok(sealed) => {
                record.state.stage = Stage::Sealed;
                record.state.detail = None;
                record.state.bundle = record.in_store.then(|| BundleState {
                    id,
                    file: sealed.file.clone(),
                    size: sealed.bytes,
                    sha256: sealed.sha256.clone(),
                    modified: Timestamp::now(),
                    complete: Some(sealed.incomplete.is_none()),
                });
            }
            Err(reason) => {
                tracing::error!(%id, "{reason}");
                record.state.stage = Stage::Failed;
                record.state.detail = Some(reason.clone());
            }
        }
        let record = record.clone();
        self.write(&record)
    }

    /// Its bundle was found in the store: bytes and SHA-256.
    pub(super) fn found(&mut self, id: Uuid, outcome: &Result<(u64, String), String>) -> io::Result<()> {
        let Some(record) = self.all.get_mut(&id) else { return Ok(()) };
        match outcome {
            Ok((size, sha256)) => {
                record.state.stage = Stage::Sealed;
                record.state.bundle = Some(BundleState {
                    id,
                    file: seal::file_name(id),
                    size: *size,
                    sha256: sha256.clone(),
                    modified: Timestamp::now(),
                    complete: None,
                });
            }
            Err(reason) => {
                record.state.stage = Stage::Failed;
                record.state.detail = Some(reason.clone());
            }
        }
        let record = record.clone();
        self.write(&record)
    }

    fn remember(&mut self, record: Record) {
        let (id, sender) = (record.state.id, record.state.sender.clone());
        if let Some(key) = record.dedup_key.clone() {
            self.alerts.insert((sender, key), id);
        }
        if let Some(message) = record.message.clone() {
            self.messages.insert(message, id);
        }
        self.all.insert(id, record);
    }

    /// Temporary name, sync, rename: a record is old or new, never half.
    fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.path(record.state.id);
        let temporary = path.with_extension("new");
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_data()?;
        std::fs::rename(&temporary, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

/// The captures that were accepted in `store` and have no bundle yet, oldest first.
pub(super) fn leftover_jobs(store: &Path) -> io::Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for entry in std::fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "job") {
            continue;
        }
        if path.with_extension("tar.zst").exists() {
            // Sealed; only the last step was missing.
            std::fs::remove_file(&path)?;
            continue;
        }
        if crate::capture::job::is_held(&path) {
            tracing::warn!("{} is being worked on by another process; it is left to it", path.display());
            continue;
        }
        match read::<Job>(&path) {
            Ok(job) => jobs.push(job),
            Err(failure) => tracing::error!("{} is not an accepted capture: {failure}", path.display()),
        }
    }
    jobs.sort_by_key(|job| job.id);
    Ok(jobs)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<T> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
