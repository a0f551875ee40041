//! Mapped files of which pages were left out of a core: their hash tells which file has those pages.

use std::collections::HashSet;
use std::io::Read;
use std::time::Instant;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::attempts::{Miss, Room};
use super::file::{Remote, regular, reopen};
use super::procdir::ProcDir;
use crate::proc::Mapping;
use crate::text::{self, Bytes};

/// Read at a time.
const CHUNK: usize = 256 << 10;

/// One file.
#[derive(Debug, Serialize)]
pub(super) struct Backing {
    path: Bytes,
    inode: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Why there is no hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The files of `mappings`, each once.
pub(super) fn files(dir: &ProcDir, mappings: &[Mapping], remote: &Remote, room: Room) -> Vec<Backing> {
    let mut seen = HashSet::new();
    let new = mappings.iter().filter(|mapping| seen.insert((mapping.device, mapping.inode)));
    new.map(|mapping| {
        let (path, inode) = (mapping.path.clone(), mapping.inode);
        match hash(dir, mapping, remote, room) {
            Ok((size, sha256)) => Backing { path, inode, size: Some(size), sha256: Some(sha256), why: None },
            Err(miss) => Backing { path, inode, size: None, sha256: None, why: Some(miss.detail) },
        }
    })
    .collect()
}

fn hash(dir: &ProcDir, mapping: &Mapping, remote: &Remote, room: Room) -> Result<(u64, String), Miss> {
    let name = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
    let path = dir.path(&name).map_err(|error| Miss::at("look at the mapped file", &error))?;
    let size = regular(&path, remote)?.size;
    if size > room.file {
        return Err(Miss::refused(format!("{size} bytes are more than are taken of one file")));
    }
    let mut file = reopen(&path)?.take(size);
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        if Instant::now() >= room.deadline {
            return Err(Miss::refused("the capture's deadline passed"));
        }
        match file.read(&mut chunk).map_err(|error| Miss::at("read the mapped file", &error))? {
            0 => return Ok((size, text::hex(&hash.finalize()))),
            count => hash.update(chunk.get(..count).unwrap_or_default()),
        }
    }
}
