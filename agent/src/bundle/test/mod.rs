//! Whole bundles, made and judged.

mod damage;
mod hostile;
mod kill;
mod round_trip;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::seal::{Ended, Sealed, seal};
use super::sign::Key;
use super::signers::Signers;
use super::verify::{Report, verify};
use super::writer::Bag;
use super::{Attempt, Name, Outcome};
use crate::capture::job::{Facts, Job, Limits, Places};
use crate::event::BootId;
use crate::trigger::{Profile, Trigger};

pub(crate) const MACHINE: &str = "0123456789abcdef0123456789abcdef";

/// A directory with a key.
pub(crate) struct Lab {
    pub(crate) folder: TempDir,
    pub(crate) key: Key,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::load_or_create(&folder.path().join("keys"), MACHINE).unwrap();
        Self { folder, key }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn dir(&self) -> OwnedFd {
        File::open(self.path()).unwrap().into()
    }

    pub(crate) fn bag(&self, job: &Job) -> Bag {
        Bag::create(self.dir(), job.id).unwrap()
    }

    pub(crate) fn seal(&self, job: &Job, ended: Ended) -> Sealed {
        let mut sign = |tagmanifest: &[u8]| self.key.sign(tagmanifest).map_err(|error| error.to_string());
        seal(self.dir().as_fd(), job, ended, &mut sign).unwrap()
    }

    pub(crate) fn signers(&self) -> Signers {
        let mut signers = Signers::default();
        let refused = signers.add_file(&self.key.allowed_signers_line().unwrap(), "test");
        assert!(refused.is_empty(), "{refused:?}");
        signers
    }

    pub(crate) fn verify(&self, bundle: &[u8]) -> Report {
        verify(bundle, &self.signers(), Timestamp::now())
    }

    /// A bundle with small members, one over several frames, and one that was not read whole.
    pub(crate) fn bundle(&self) -> (PathBuf, Sealed) {
        let job = job();
        let mut bag = self.bag(&job);
        fill(&mut bag);
        bag.finish().unwrap();
        let sealed = self.seal(&job, Ended::Finished);
        (self.path().join(&sealed.file), sealed)
    }
}

pub(crate) fn fill(bag: &mut Bag) {
    bag.put(&Name::data(&["trigger.json"]), b"{}\n").unwrap();
    bag.put(&Name::file(&["files"], b"/home/\xff evil\n/a\\b"), b"escaped").unwrap();
    bag.put(&Name::file(&["files"], format!("/{}", "long/".repeat(60)).as_bytes()), b"long name").unwrap();
    bag.put(&Name::data(&["empty"]), b"").unwrap();
    let added = bag.stream(&Name::data(&["short"]), 1000, &mut &b"only this"[..]).unwrap();
    assert_eq!((added.bytes, added.read), (1000, 9));
    bag.attempt(&attempt("short", Outcome::Partial)).unwrap();
    bag.put(&Name::data(&["noise"]), &noise(700)).unwrap();
    bag.attempt(&attempt("noise", Outcome::Ok)).unwrap();
}

pub(crate) fn attempt(name: &str, outcome: Outcome) -> Attempt {
    Attempt {
        collection: "test".to_owned(),
        subject: name.to_owned(),
        outcome,
        detail: None,
        artifact: Some(Name::data(&[name])),
        bytes: 9,
        at: Timestamp::now(),
        took_us: 1,
    }
}

pub(crate) fn long(number: usize) -> u64 {
    number.try_into().unwrap()
}

/// Bytes that do not compress, always the same.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

pub(crate) fn job() -> Job {
    Job {
        id: Uuid::now_v7(),
        accepted: Timestamp::now(),
        trigger: Trigger { sender: "person".to_owned(), rule: "a test".to_owned(), ..Trigger::default() },
        raw: crate::text::Bytes::from("{}"),
        targets: Vec::new(),
        profile: Profile::Triage,
        limits: Limits::default(),
        places: Places { proc: "/proc".into(), root: "/".into(), history: None, stash: None },
        facts: Facts {
            boot: BootId([1; 16]),
            machine_id: MACHINE.to_owned(),
            hostname: "host".to_owned(),
            kernel: "6.1".to_owned(),
            version: "0.1.0".to_owned(),
            config_sha256: "00".repeat(32),
            initial_pid_namespace: false,
            probe: serde_json::json!({"attached": []}),
            gaps: Vec::new(),
            counts: serde_json::json!({"lost": 0}),
            changes: Vec::new(),
        },
    }
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
}
