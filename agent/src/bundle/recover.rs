//! What a bag in the making really holds, whatever its journal says: read from the frames themselves.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::frame::{Fault, Frames};
use super::manifest::Artifact;
use super::members::{Member, Members};
use super::name::Name;
use crate::text;

/// The content of a partial file, up to its last whole frame.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Members, in order; the last may be unfinished. `read` is what is there.
    pub(super) artifacts: Vec<Artifact>,
    /// End of the last whole frame: the file must be cut here.
    pub(super) at: u64,
    /// Bytes that the last member lacks, and zeros that the tar lacks after it; and its hash so far.
    pub(super) unfinished: Option<Unfinished>,
}

/// A member that was being written when the collector ended.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) missing: u64,
    pub(super) padding: usize,
    pub(super) hash: Sha256,
}

/// Reads `partial` from its beginning to `limit` at most.
pub(super) fn scan(partial: &File, limit: u64) -> io::Result<Recovered> {
    let (found, broken) = read(partial, limit)?;
    // A tar that breaks off within whole frames was not written by us; what is before that frame was.
    match broken {
        Some(frame) => read(partial, frame).map(|(found, _)| found),
        None => Ok(found),
    }
}

/// The second value is the offset of the frame in which the tar breaks a rule, if it does.
fn read(mut partial: &File, limit: u64) -> io::Result<(Recovered, Option<u64>)> {
    partial.seek(SeekFrom::Start(0))?;
    let source = BufReader::with_capacity(1 << 20, io::Read::take(partial, limit));
    let mut members = Members::new(Frames::new(source, 0)?);
    let mut found = Recovered::default();
    loop {
        let before = members.frames().end();
        let member = match members.next_member() {
            Ok(Some(member)) if member.tag().is_none() => member,
            // A sealer's, of which the journal knows nothing.
            Ok(Some(member)) => {
                found.at = member.frame;
                return Ok((found, None));
            }
            Ok(None) => return Ok((found, Some(before))),
            Err(fault) => return Ok(end(found, &members, &fault)),
        };
        match hash(&mut members, &member, &mut found) {
            Ok(()) => {}
            Err(fault) => return Ok(end(found, &members, &fault)),
        }
    }
}

fn hash<R: io::Read>(members: &mut Members<R>, member: &Member, found: &mut Recovered) -> Result<(), Fault> {
    let mut hash = Sha256::new();
    let mut read = 0_u64;
    let fault = loop {
        match members.data() {
            Ok([]) => break None,
            Ok(bytes) => {
                hash.update(bytes);
                read = read.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
            Err(fault) => break Some(fault),
        }
    };
    found.artifacts.push(Artifact {
        name: Name::from(member.name.clone()),
        original: None,
        size: member.size,
        read,
        sha256: text::hex(&hash.clone().finalize()),
        frame: member.frame,
        skip: member.skip,
    });
    // The zeros after it belong to it: without them the tar cannot go on.
    let fault = match fault {
        None => members.end_member().err(),
        fault => fault,
    };
    let Some(fault) = fault else { return Ok(()) };
    let (missing, padding) = members.missing();
    found.unfinished = Some(Unfinished { missing, padding, hash });
    Err(fault)
}

fn end<R: io::Read>(mut found: Recovered, members: &Members<R>, fault: &Fault) -> (Recovered, Option<u64>) {
    found.at = members.frames().end();
    // A fault of a frame is where the file ends for us; a fault of the tar lies in a frame that is whole.
    let broken = match fault {
        Fault::Tampered(_) => members.frames().broken_tar(),
        Fault::Torn { .. } | Fault::Read(_) | Fault::NotABundle => None,
    };
    (found, broken)
}
