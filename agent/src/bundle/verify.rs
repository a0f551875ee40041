//! Verifies a bundle: one pass, bounded memory, nothing believed. The verdicts are those of FORMAT.md, section 6.

use std::io::Read;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, PublicKey, SshSig};
use uuid::Uuid;

use super::frame::{Fault, Frames};
use super::layout::{self, BAG_INFO, BAGIT, CAPTURE, FORMAT, MANIFEST, SIGNATURE, TAGMANIFEST, TAGS};
use super::manifest::Capture;
use super::members::{Member, Members, read_tag};
use super::sign::{NAMESPACE, principal};
use super::signers::Signers;
use super::tags;
use crate::text;

/// What became of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Whole, and signed by somebody trusted.
    Good,
    /// It cannot be read, or is no bundle.
    Unreadable,
    /// A rule is broken.
    Tampered,
    /// It was cut; what is there is intact.
    Torn,
    /// Whole, and signed by somebody who is not trusted.
    Untrusted,
}

/// What stands about a member in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intact {
    /// Name in the bag, without the id.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// File offset of the frame that holds its header.
    #[serde(skip)]
    pub frame: u64,
    /// Bytes of content from there to its first.
    #[serde(skip)]
    pub skip: u64,
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// SHA-256 fingerprint of the key.
    pub fingerprint: String,
    /// As whom: `afterimage@<machine id>`.
    pub principal: String,
    /// By which line the key is trusted, if it is.
    pub trusted_by: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In one word.
    pub verdict: Verdict,
    /// In a sentence, where it is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The bundle's id, once a member was seen.
    pub id: Option<Uuid>,
    /// Payload members that are wholly there.
    pub intact: Vec<Intact>,
    /// Who signed, where the signature verifies.
    pub signature: Option<Signature>,
    /// The bundle's own manifest, where it could be checked.
    #[serde(skip)]
    pub capture: Option<Capture>,
}

/// Verifies the bundle that `source` holds from its first byte to its last.
pub fn verify(source: impl Read, signers: &Signers, now: Timestamp) -> Report {
    let mut reading = Reading::default();
    let end = match Frames::new(source, 0) {
        Ok(frames) => reading.read(&mut Members::new(frames)),
        Err(error) => Err(Fault::Read(error)),
    };
    reading.judge(end, signers, now)
}

/// What one pass over the file has seen so far.
#[derive(Default)]
pub(super) struct Reading {
    id: Option<Uuid>,
    intact: Vec<Intact>,
    tags: Vec<Vec<u8>>,
    /// File offset of the first tag frame.
    tags_at: Option<u64>,
}

impl Reading {
    /// Only the tag files, from where the trailer says that they begin.
    pub(super) fn read_tags(
        mut self,
        frames: Frames<impl Read>,
        signers: &Signers,
        now: Timestamp,
    ) -> Result<(Capture, Signature), Fault> {
        self.read(&mut Members::new(frames))?;
        if !self.intact.is_empty() {
            return Err(tampered("the trailer points to another place than the tag files"));
        }
        check_tags(self.id.unwrap_or_default(), &self.tags, signers, now).map_err(Fault::Tampered)
    }

    fn read<R: Read>(&mut self, members: &mut Members<R>) -> Result<(), Fault> {
        while let Some(member) = members.next_member()? {
            self.id = members.id();
            match member.tag() {
                Some(tag) => self.read_tag(members, &member, tag)?,
                None if self.tags.is_empty() => self.read_payload(members, member)?,
                None => return Err(tampered("payload after a tag file")),
            }
        }
        if self.tags.len() < TAGS.len() {
            return Err(tampered("tag files are missing"));
        }
        if members.frames().trailer() != self.tags_at {
            return Err(tampered("the trailer points to another place than the tag files"));
        }
        Ok(())
    }

    fn read_payload<R: Read>(&mut self, members: &mut Members<R>, member: Member) -> Result<(), Fault> {
        let mut hash = Sha256::new();
        loop {
            let bytes = members.data()?;
            if bytes.is_empty() {
                break;
            }
            hash.update(bytes);
        }
        let Member { name, size, frame, skip } = member;
        self.intact.push(Intact { name, size, sha256: text::hex(&hash.finalize()), frame, skip });
        Ok(())
    }

    fn read_tag<R: Read>(
        &mut self,
        members: &mut Members<R>,
        member: &Member,
        tag: usize,
    ) -> Result<(), Fault> {
        if tag != self.tags.len() {
            return Err(tampered("the tag files are not in their order"));
        }
        if tag == 0 {
            let header = layout::header(self.id.unwrap_or_default(), &member.name, member.size).len();
            if u64::try_from(header).ok() != Some(member.skip) {
                return Err(tampered("the tag files do not begin a frame"));
            }
            self.tags_at = Some(member.frame);
        }
        self.tags.push(read_tag(members, member)?);
        Ok(())
    }

    fn judge(self, end: Result<(), Fault>, signers: &Signers, now: Timestamp) -> Report {
        let mut report = Report {
            verdict: Verdict::Good,
            why: None,
            id: self.id,
            intact: Vec::new(),
            signature: None,
            capture: None,
        };
        let (end, fault) = match end {
            Ok(()) => (Verdict::Good, None),
            Err(fault) => (verdict(&fault), Some(fault.to_string())),
        };
        let checked = match (end, self.tags.len() == TAGS.len()) {
            // Torn, but its tag files are there: what they say counts.
            (Verdict::Good | Verdict::Torn, true) => self.check(signers, now).map(Some),
            _ => Ok(None),
        };
        report.intact = self.intact;
        match checked {
            Err(why) => (report.verdict, report.why) = (Verdict::Tampered, Some(why)),
            Ok(None) => (report.verdict, report.why) = (end, fault),
            Ok(Some((signature, capture))) => {
                (report.verdict, report.why) = match (end, &signature.trusted_by) {
                    (Verdict::Good, None) => (
                        Verdict::Untrusted,
                        Some(format!(
                            "the key {} is not trusted for {}",
                            signature.fingerprint, signature.principal
                        )),
                    ),
                    _ => (end, fault),
                };
                report.signature = Some(signature);
                report.capture = Some(capture);
            }
        }
        report
    }

    /// The tag files against the members, and the signature. The error is what is wrong.
    fn check(&self, signers: &Signers, now: Timestamp) -> Result<(Signature, Capture), String> {
        let id = self.id.unwrap_or_default();
        let (capture, signature) = check_tags(id, &self.tags, signers, now)?;
        let mut manifest = Vec::new();
        self.intact.iter().for_each(|member| tags::line(&mut manifest, &member.sha256, &member.name));
        if self.tag(MANIFEST) != manifest {
            return Err(self.difference());
        }
        let same = |(artifact, member): (&super::Artifact, &Intact)| {
            artifact.name.as_str() == member.name
                && artifact.size == member.size
                && artifact.sha256 == member.sha256
                && (artifact.frame, artifact.skip) == (member.frame, member.skip)
                && artifact.read <= artifact.size
        };
        if capture.artifacts.len() != self.intact.len()
            || !capture.artifacts.iter().zip(&self.intact).all(same)
        {
            return Err(format!("{CAPTURE} does not describe the members that are there"));
        }
        Ok((signature, capture))
    }

    /// Where the payload differs from its manifest.
    fn difference(&self) -> String {
        let manifest = self.tag(MANIFEST);
        let mut lines = manifest.split(|&byte| byte == b'\n');
        for member in &self.intact {
            let mut expected = Vec::new();
            tags::line(&mut expected, &member.sha256, &member.name);
            if lines.next() != expected.strip_suffix(b"\n") {
                return format!("{} is not what {MANIFEST} says", member.name);
            }
        }
        format!("{MANIFEST} lists members that are not there")
    }

    fn tag(&self, name: &str) -> &[u8] {
        tag(&self.tags, name)
    }
}

/// Checks all tag files but `manifest-sha256.txt`'s own content. The error is what is wrong.
fn check_tags(
    id: Uuid,
    tags: &[Vec<u8>],
    signers: &Signers,
    now: Timestamp,
) -> Result<(Capture, Signature), String> {
    let mut tagmanifest = Vec::new();
    for name in [CAPTURE, MANIFEST, BAGIT, BAG_INFO] {
        tags::line(&mut tagmanifest, &text::hex(&Sha256::digest(tag(tags, name))), name);
    }
    if tag(tags, TAGMANIFEST) != tagmanifest {
        return Err(format!("a tag file is not what {TAGMANIFEST} says"));
    }
    let armored = tag(tags, SIGNATURE);
    if armored.is_empty() {
        return Err("it is not signed".to_owned());
    }
    let signature =
        SshSig::from_pem(armored).map_err(|error| format!("{SIGNATURE} is not a signature: {error}"))?;
    // A reader that knows only the form above must come to the same answer, whatever armor allows.
    if signature.to_pem(ssh_key::LineEnding::LF).ok().map(String::into_bytes).as_deref() != Some(armored) {
        return Err(format!("{SIGNATURE} is not in its usual form"));
    }
    let key = PublicKey::from(signature.public_key().clone());
    if signature.hash_alg() != HashAlg::Sha512 || key.algorithm() != ssh_key::Algorithm::Ed25519 {
        return Err(format!("{SIGNATURE} is of another kind than Ed25519 with SHA-512"));
    }
    key.verify(NAMESPACE, &tagmanifest, &signature)
        .map_err(|error| format!("the signature is wrong: {error}"))?;
    let capture: Capture = serde_json::from_slice(tag(tags, CAPTURE)).map_err(|error| {
        format!("{CAPTURE} is not as the format says: {}", text::escape(error.to_string().as_bytes()))
    })?;
    if capture.id != id || capture.format != FORMAT {
        return Err(format!("{CAPTURE} is of another bundle or another format"));
    }
    if tag(tags, BAGIT) != tags::BAGIT_TEXT.as_bytes() {
        return Err(format!("{BAGIT} is not as the format says"));
    }
    let principal = principal(&capture.facts.machine_id);
    let trusted_by = signers.trust(key.key_data(), &principal, now).map(str::to_owned);
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    // The machine id is the bundle's own claim, and may be any text.
    let principal = text::escape(principal.as_bytes());
    Ok((capture, Signature { fingerprint, principal, trusted_by }))
}

fn tag<'a>(tags: &'a [Vec<u8>], name: &str) -> &'a [u8] {
    let place = TAGS.iter().position(|tag| *tag == name);
    place.and_then(|place| tags.get(place)).map_or(&[], Vec::as_slice)
}

fn verdict(fault: &Fault) -> Verdict {
    match fault {
        Fault::Read(_) | Fault::NotABundle => Verdict::Unreadable,
        Fault::Torn { .. } => Verdict::Torn,
        Fault::Tampered(_) => Verdict::Tampered,
    }
}

fn tampered(why: &str) -> Fault {
    Fault::Tampered(why.to_owned())
}
