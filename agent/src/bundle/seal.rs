//! Closes a bag, however its collector ended: the tag files, the signature, the final name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::closing::{Closing, digest};
use super::manifest::{Capture, Outcome};
use super::signers::Signers;
use super::{reader, writer};
use crate::capture::job::Job;

/// How the collector ended, as its parent saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, in good order.
    Finished,
    /// In any other way, or nobody saw.
    Killed {
        /// In words, for `capture.json`: `killed at its deadline of 300 s`, `the recorder was restarted`, ...
        why: String,
    },
}

/// A bundle that was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The capture.
    pub id: Uuid,
    /// The file's name in its directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Payload members.
    pub artifacts: u64,
    /// Their size, before compression.
    pub payload_bytes: u64,
    /// Attempts by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Why the capture is not complete, if it is not.
    pub incomplete: Option<String>,
}

/// Why a bag could not be sealed. It stays as it is, and sealing can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the bag.
    #[error("cannot {step} {name} while sealing: {source}")]
    File {
        /// What was tried.
        step: &'static str,
        /// With which file.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The signer's own words.
    #[error("the bundle {id} could not be signed: {why}")]
    Sign {
        /// Which.
        id: Uuid,
        /// Why.
        why: String,
    },
    /// There is one of this name.
    #[error("a file {0} is there already, and nothing is overwritten")]
    Exists(String),
}

/// Seals the bag of `job` in the directory `dir`. `sign` gets the tag manifest and returns the armored signature.
pub fn seal(
    dir: BorrowedFd<'_>,
    job: &Job,
    ended: Ended,
    sign: &mut dyn FnMut(&[u8]) -> Result<String, String>,
) -> Result<Sealed, Error> {
    let id = job.id;
    remove(dir, &writer::reserve(id));
    if let Some(sealed) = sealed_before(dir, id)? {
        sweep(dir, id);
        return Ok(sealed);
    }
    let mut bag = Closing::open(dir, id)?;
    let (found, journal) = bag.take_stock(&ended)?;
    let capture = bag.close(found, journal, job, ended)?;
    bag.finish(&capture, sign)?;
    let (bytes, sha256) = bag.commit(dir)?;
    sweep(dir, id);
    Ok(Sealed::new(&capture, bytes, sha256))
}

/// The name of a sealed bundle.
pub fn file_name(id: Uuid) -> String {
    format!("{id}.tar.zst")
}

impl Sealed {
    fn new(capture: &Capture, bytes: u64, sha256: String) -> Self {
        let payload = capture.artifacts.iter().fold(0_u64, |sum, artifact| sum.saturating_add(artifact.size));
        Self {
            id: capture.id,
            file: file_name(capture.id),
            bytes,
            sha256,
            artifacts: u64::try_from(capture.artifacts.len()).unwrap_or(u64::MAX),
            payload_bytes: payload,
            outcomes: capture.outcomes.clone(),
            incomplete: capture.incomplete.clone(),
        }
    }
}

/// The bundle, when an earlier sealer had given it its name before it ended.
fn sealed_before(dir: BorrowedFd<'_>, id: Uuid) -> Result<Option<Sealed>, Error> {
    let look = |name: &str| {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match openat(dir, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(failed("open", name)(error.into())),
        }
    };
    let name = file_name(id);
    let (None, Some(mut file)) = (look(&writer::partial(id))?, look(&name)?) else { return Ok(None) };
    let account = reader::account(&file, &Signers::default(), Timestamp::now());
    let (capture, _) = account.map_err(|fault| failed("read", &name)(io::Error::other(fault)))?;
    if capture.id != id {
        return Err(Error::Exists(name));
    }
    let (bytes, sha256) = digest(&mut file).map_err(failed("read", &name))?;
    Ok(Some(Sealed::new(&capture, bytes, sha256)))
}

fn sweep(dir: BorrowedFd<'_>, id: Uuid) {
    remove(dir, &writer::journal(id));
    remove(dir, &format!("{id}.job"));
}

/// What is left over is swept at the next start: that it could not be removed now harms nothing.
fn remove(dir: BorrowedFd<'_>, name: &str) {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(_) => {}
    }
}

/// An error of `step` with the file `name`.
pub(super) fn failed(step: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error + use<> {
    let name = name.to_owned();
    move |source| Error::File { step, name, source }
}
