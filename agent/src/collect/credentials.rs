//! `data/credentials.jsonl`: where users' credentials and private keys lie: name, attributes, and the hash of the content, by which a
//! copy is known elsewhere. Never the content.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::file::text;
use super::findings::File;
use super::matching::Matching;
use super::packages::lines;
use super::passwd::homes;
use super::system::Attributes;
use super::walk::Walker;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::definitions::{Library, Source};
use crate::text::{Bytes, escape, hex};

/// Definitions of files that hold credentials.
const DEFINITIONS: [&str; 2] = ["CloudCredentials", "UserKeys"];
/// Entries that are looked at, files that are told, and bytes of one that is hashed.
const ENTRIES_MAX: usize = 100_000;
const FILES_MAX: usize = 20_000;
const HASHED_MAX: u64 = 16 << 20;

/// One line.
#[derive(Serialize)]
struct Row {
    path: Bytes,
    artifact: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Why there is no hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_hashed: Option<String>,
    #[serde(flatten)]
    file: File,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    let until = Instant::now() + (left / 10).min(Duration::from_secs(20));
    let places = &context.job.places;
    let mut walker = Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let (found, mut lacks) = look(&mut walker);
    if found.len() > FILES_MAX {
        lacks.push(format!("{} more files were too many", found.len() - FILES_MAX));
    }
    let rows: Vec<Row> = found
        .iter()
        .take(FILES_MAX)
        .map(|(path, (artifact, file))| row(path, artifact, file, &walker))
        .collect();
    attempts.take("table of credentials", &Name::data(&["credentials.jsonl"]), |_| {
        lacks.extend(walker.lacks.iter().cloned());
        let lack = (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")));
        let note = format!("{} files, by name and hash only", rows.len());
        Ok(Found::bytes(lines(rows.iter())?).lacking(lack).noting(note))
    })?;
    Ok(())
}

type Files = BTreeMap<Vec<u8>, (&'static str, Attributes)>;

/// The files, and what may not be looked at.
fn look(walker: &mut Walker) -> (Files, Vec<String>) {
    let mut people: Vec<Vec<u8>> = homes(walker).into_iter().map(|user| user.home).collect();
    if !people.iter().any(|home| home == b"/root") {
        people.push(b"/root".to_vec());
    }
    let library = Library::own();
    let (mut files, mut lacks) = (Files::new(), Vec::new());
    for name in DEFINITIONS {
        let mut matching = Matching::new(walker, &people);
        for source in library.get(name).map(|one| one.sources.as_slice()).unwrap_or_default() {
            if let Source::Paths(patterns) | Source::Files(patterns) = source {
                for pattern in patterns {
                    matching.look(pattern);
                }
            }
        }
        let Matching { found, refused, .. } = matching;
        let is_secret = |path: &[u8], file: &Attributes| file.is_file() && !path.ends_with(b".pub");
        let secrets = found.into_iter().filter(|(path, file)| is_secret(path, file));
        files.extend(secrets.map(|(path, file)| (path, (name, file))));
        lacks
            .extend(refused.iter().map(|(path, miss)| format!("{}: {}", escape(path), miss.detail)).take(32));
    }
    (files, lacks)
}

fn row(path: &[u8], artifact: &'static str, file: &Attributes, walker: &Walker) -> Row {
    let (sha256, not_hashed) = match hash(path, walker) {
        Ok(hash) => (Some(hash), None),
        Err(why) => (None, Some(why)),
    };
    Row { path: Bytes::from(path), artifact, sha256, not_hashed, file: File::from(file) }
}

fn hash(path: &[u8], walker: &Walker) -> Result<String, String> {
    if Instant::now() >= walker.until {
        return Err("the time was up".to_owned());
    }
    let read = walker.find(path).and_then(|entry| text(&entry.fd, &walker.remote, HASHED_MAX));
    let (bytes, whole) = read.map_err(|miss| miss.detail)?;
    if !whole {
        return Err(format!("more than {HASHED_MAX} bytes"));
    }
    Ok(hex(&Sha256::digest(&bytes)))
}

#[cfg(test)]
#[path = "credentials_test.rs"]
mod tests;
