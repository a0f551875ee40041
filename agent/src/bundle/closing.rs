//! The steps of sealing: taking stock, filling up, describing, signing, naming.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::BorrowedFd;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::fsync;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::frame::Compressor;
use super::journal::{Journal, Line};
use super::layout::{self, FORMAT, FRAME_MAX};
use super::manifest::{Artifact, Attempt, Capture, Outcome};
use super::name::Name;
use super::recover::{Recovered, Unfinished, scan};
use super::seal::{Ended, Error, failed, file_name};
use super::{tags, writer};
use crate::capture::job::Job;
use crate::text;

/// A half-read member that would need more zeros than this is left out.
const FILL_MAX: u64 = 64 << 30;

/// A bag that is being closed.
pub(super) struct Closing {
    id: Uuid,
    partial: File,
    journal: File,
    compressor: Compressor,
    at: u64,
}

impl Closing {
    pub(super) fn open(dir: BorrowedFd<'_>, id: Uuid) -> Result<Self, Error> {
        let (partial, journal) = (writer::partial(id), writer::journal(id));
        let compressor = Compressor::new().map_err(failed("compress", &partial))?;
        Ok(Self {
            id,
            partial: open(dir, &partial).map_err(failed("open", &partial))?,
            journal: open(dir, &journal).map_err(failed("open", &journal))?,
            compressor,
            at: 0,
        })
    }

    /// What is in the bag; the partial file ends after its last whole frame, and the journal knows that we are here.
    pub(super) fn take_stock(&mut self, ended: &Ended) -> Result<(Recovered, Journal), Error> {
        let (partial, name) = (writer::partial(self.id), writer::journal(self.id));
        let journal = Journal::read(BufReader::new(&self.journal)).map_err(failed("read", &name))?;
        let length = self.partial.metadata().map_err(failed("look at", &partial))?.len();
        let limit = journal.sealed_from.map_or(length, |from| from.min(length));
        let whole = matches!(journal.end, Some((bytes, ..)) if bytes == limit);
        let found = if *ended == Ended::Finished && whole {
            Recovered { artifacts: journal.artifacts.clone(), at: limit, unfinished: None }
        } else {
            scan(&self.partial, limit).map_err(failed("read", &partial))?
        };
        self.partial.set_len(found.at).map_err(failed("cut", &partial))?;
        self.partial.seek(SeekFrom::Start(found.at)).map_err(failed("cut", &partial))?;
        self.at = found.at;
        if journal.sealed_from != Some(found.at) {
            let line = Line::Seal { bytes: found.at }.to_bytes();
            line.and_then(|line| {
                self.journal.set_len(journal.bytes)?;
                self.journal.seek(SeekFrom::Start(journal.bytes))?;
                self.journal.write_all(&line)
            })
            .map_err(failed("write", &name))?;
        }
        Ok((found, journal))
    }

    /// Fills up what is unfinished, and says what the bag holds.
    pub(super) fn close(
        &mut self,
        mut found: Recovered,
        journal: Journal,
        job: &Job,
        ended: Ended,
    ) -> Result<Capture, Error> {
        let mut attempts = journal.attempts;
        let closed =
            matches!(journal.end, Some((bytes, ..)) if bytes == found.at) && found.unfinished.is_none();
        let incomplete = match ended {
            _ if closed => None,
            Ended::Killed { why } => Some(why),
            Ended::Finished => Some("the collector ended without closing its bag".to_owned()),
        };
        let incomplete = match (incomplete, journal.failed) {
            (Some(why), Some(failed)) => Some(format!("{why}: the bundle could not be written: {failed}")),
            (incomplete, _) => incomplete,
        };
        let began = journal.begun.is_some();
        let unfinished = found.unfinished.take();
        vouch(&mut found.artifacts, &journal.artifacts, &mut attempts, unfinished.is_some());
        if let Some(unfinished) = unfinished {
            self.fill(unfinished, &mut found.artifacts)?;
        }
        if found.artifacts.is_empty() {
            found.artifacts.push(self.write_trigger(job)?);
        }
        let mut outcomes = BTreeMap::new();
        for attempt in &attempts {
            let count: &mut u64 = outcomes.entry(attempt.outcome).or_default();
            *count = count.saturating_add(1);
        }
        let incomplete = match incomplete {
            Some(why) if !began => Some(format!("the collector never began: {why}")),
            incomplete => incomplete,
        };
        Ok(Capture {
            format: FORMAT.to_owned(),
            id: self.id,
            complete: incomplete.is_none(),
            incomplete,
            accepted: job.accepted,
            started: journal.begun,
            ended: journal.end.map(|(_, at, _)| at),
            sealed: Timestamp::now(),
            trigger: job.trigger.clone(),
            targets: job.targets.clone(),
            profile: job.profile,
            limits: job.limits.clone(),
            facts: job.facts.clone(),
            frozen: journal.frozen,
            outcomes,
            attempts_dropped: journal.end.map_or(0, |(_, _, dropped)| dropped),
            artifacts: found.artifacts,
            attempts,
        })
    }

    /// Writes the tag files, the signature, the tar's end and the trailer.
    pub(super) fn finish(
        &mut self,
        capture: &Capture,
        sign: &mut dyn FnMut(&[u8]) -> Result<String, String>,
    ) -> Result<(), Error> {
        let name = writer::partial(self.id);
        let mut files =
            tags::files(capture).map_err(|error| failed("describe", &name)(io::Error::from(error)))?;
        let tagmanifest = files.last().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        let signature = sign(tagmanifest).map_err(|why| Error::Sign { id: self.id, why })?;
        files.push((layout::SIGNATURE, signature.into_bytes()));
        let trailer = layout::trailer(self.at);
        self.add(&tags::tar(self.id, &files))?;
        self.partial.write_all(&trailer).map_err(failed("write", &name))?;
        self.partial.sync_all().map_err(failed("synchronise", &name))
    }

    /// Gives the file its name; its length and SHA-256.
    pub(super) fn commit(mut self, dir: BorrowedFd<'_>) -> Result<(u64, String), Error> {
        let (name, file) = (writer::partial(self.id), file_name(self.id));
        match renameat2(dir, name.as_str(), dir, file.as_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(Error::Exists(file)),
            Err(error) => return Err(failed("rename", &name)(error.into())),
        }
        fsync(dir).map_err(|error| failed("synchronise the folder of", &file)(error.into()))?;
        // It is sealed; what follows is for whoever asks for it.
        digest(&mut self.partial).map_err(failed("read", &file))
    }

    /// Zeros in place of what was not read any more.
    fn fill(&mut self, unfinished: Unfinished, artifacts: &mut Vec<Artifact>) -> Result<(), Error> {
        let Unfinished { mut missing, padding, mut hash } = unfinished;
        let name = writer::partial(self.id);
        if missing > FILL_MAX
            && let Some(artifact) = artifacts.pop()
        {
            // Such a member began a frame of its own.
            self.at = artifact.frame;
            self.partial.set_len(self.at).map_err(failed("cut", &name))?;
            self.partial.seek(SeekFrom::Start(self.at)).map_err(failed("cut", &name))?;
            return Ok(());
        }
        let zeros = vec![0; FRAME_MAX];
        let frame = self.compressor.frame(&zeros).map_err(failed("compress", &name))?;
        while let Some(rest) = missing.checked_sub(u64::try_from(FRAME_MAX).unwrap_or(u64::MAX)) {
            hash.update(&zeros);
            self.write(&frame)?;
            missing = rest;
        }
        let rest = usize::try_from(missing).unwrap_or(0);
        hash.update(zeros.get(..rest).unwrap_or_default());
        self.add(zeros.get(..rest.saturating_add(padding)).unwrap_or(&zeros))?;
        if let Some(artifact) = artifacts.last_mut() {
            artifact.sha256 = text::hex(&hash.finalize());
        }
        Ok(())
    }

    /// A bag needs a payload: the trigger, when the collector never wrote it.
    fn write_trigger(&mut self, job: &Job) -> Result<Artifact, Error> {
        let partial = writer::partial(self.id);
        let value = serde_json::json!({
            "id": job.id, "accepted": job.accepted, "trigger": job.trigger, "raw": job.raw, "targets": job.targets,
        });
        let bytes = serde_json::to_vec_pretty(&value)
            .map_err(|error| failed("describe", &partial)(io::Error::from(error)))?;
        let (name, size) = (Name::data(&["trigger.json"]), u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let mut content = layout::header(self.id, name.as_str(), size);
        let skip = u64::try_from(content.len()).unwrap_or(u64::MAX);
        content.extend_from_slice(&bytes);
        content.resize(content.len().saturating_add(layout::padding(size)), 0);
        let frame = self.at;
        self.add(&content)?;
        let sha256 = text::hex(&Sha256::digest(&bytes));
        Ok(Artifact { name, original: None, size, read: size, sha256, frame, skip })
    }

    fn add(&mut self, content: &[u8]) -> Result<(), Error> {
        for part in content.chunks(FRAME_MAX) {
            let frame = self.compressor.frame(part);
            self.write(&frame.map_err(failed("compress", &writer::partial(self.id)))?)?;
        }
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.partial.write_all(frame).map_err(failed("write", &writer::partial(self.id)))?;
        self.at = self.at.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

/// Gives each member that was found what the journal says of it; what it says nothing of gets an attempt that says so.
fn vouch(found: &mut [Artifact], noted: &[Artifact], attempts: &mut Vec<Attempt>, unfinished: bool) {
    let noted: BTreeMap<&Name, &Artifact> = noted.iter().map(|artifact| (&artifact.name, artifact)).collect();
    let last = found.len().saturating_sub(1);
    for (at, artifact) in found.iter_mut().enumerate() {
        let half = unfinished && at == last && artifact.read < artifact.size;
        match noted.get(&artifact.name) {
            Some(noted) if !half && noted.sha256 == artifact.sha256 => {
                artifact.read = noted.read;
                artifact.original.clone_from(&noted.original);
            }
            _ => doubt(artifact, half, attempts),
        }
    }
}

fn doubt(artifact: &Artifact, half: bool, attempts: &mut Vec<Attempt>) {
    let detail = if half {
        format!(
            "the collector ended while it read this: {} of {} bytes, the rest is zeros",
            artifact.read, artifact.size
        )
    } else {
        "the collector ended before it could say how much of this was read".to_owned()
    };
    let known = attempts.iter_mut().find(|attempt| attempt.artifact.as_ref() == Some(&artifact.name));
    if let Some(attempt) = known {
        attempt.outcome = Outcome::Partial;
        attempt.detail = Some(detail);
    } else {
        attempts.push(Attempt {
            collection: "capture".to_owned(),
            subject: artifact.name.as_str().to_owned(),
            outcome: Outcome::Partial,
            detail: Some(detail),
            artifact: Some(artifact.name.clone()),
            bytes: artifact.read,
            at: Timestamp::now(),
            took_us: 0,
        });
    }
}

/// Length and SHA-256 of a file.
pub(super) fn digest(file: &mut File) -> io::Result<(u64, String)> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, text::hex(&hash.finalize()))),
            Ok(count) => {
                hash.update(chunk.get(..count).unwrap_or_default());
                bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file of the bag, made when it is not there; never through a link.
fn open(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
