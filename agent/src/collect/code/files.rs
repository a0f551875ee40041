//! The files behind executable mappings: each once per capture, its bytes or, by the policy, its hash.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::library;
use super::look::{DIFFERENCES_MAX, Process, Seen};
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::capture::job::Places;
use crate::collect::attempts::{Attempts, Miss};
use crate::collect::content::{self, Key, key};
use crate::collect::system::Attributes;
use crate::history::packages::Packages;
use crate::history::policy::{self, Odd};
use crate::plan::Libraries;
use crate::proc::Mapping;
use crate::text::Bytes;

/// Files of one process, and of all; a bundle has room for 100,000 members.
const OF_ONE_MAX: usize = 2_048;
const OF_ALL_MAX: usize = 20_000;

/// A file that was changed so many seconds ago is odd, unless a package brought it.
const RECENT_S: i64 = 600;

/// A mapped file, for `code.json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Mapped {
    pub(super) path: Bytes,
    size: Option<u64>,
    device: (u32, u32),
    inode: u64,
    pub(super) links: Option<u32>,
    /// Whether a package of the distribution brought it, and nobody has changed it since.
    package: bool,
    /// Where its bytes are in the bundle.
    pub(super) artifact: Option<Name>,
    /// Of a file whose bytes are not taken, by policy.
    pub(super) sha256: Option<String>,
    /// Why there is neither.
    missing: Option<String>,
}

/// What is known of all files.
#[derive(Debug)]
pub(super) struct Files {
    policy: Libraries,
    root: PathBuf,
    packages: Packages,
    /// Seconds since 1970.
    now: i64,
    /// Files of packages whose hash is known.
    hashed: HashMap<Key, String>,
    left: usize,
}

impl Files {
    pub(super) fn new(places: &Places, policy: Libraries) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            policy,
            root: places.root.clone(),
            packages: Packages::new(&places.root),
            now: i64::try_from(now).unwrap_or(i64::MAX),
            hashed: HashMap::new(),
            left: OF_ALL_MAX,
        }
    }

    /// The files of one process, in the order of their mappings: compared with what is in memory, and taken or hashed.
    pub(super) fn of(
        &mut self,
        process: &Process<'_>,
        seen: &mut [Seen],
        taken: &mut HashMap<Key, Name>,
        attempts: &mut Attempts<'_>,
    ) -> Result<Vec<Mapped>, Error> {
        let mut files = Vec::new();
        let mut known: HashMap<(Bytes, (u32, u32), u64), usize> = HashMap::new();
        let mut differences = DIFFERENCES_MAX;
        for at in 0..seen.len() {
            let Some(one) = seen.get_mut(at).filter(|one| one.row.kind.has_file()) else { continue };
            let mapping = one.mapping.clone();
            let number = files.len();
            let known = known.entry((mapping.path.clone(), mapping.device, mapping.inode)).or_insert(number);
            one.row.file = Some(*known);
            if *known < number {
                continue;
            }
            if number >= OF_ONE_MAX || self.left == 0 {
                one.row.file = None;
                let miss = Miss::new(Outcome::OverBudget, "more mapped files than are looked at");
                attempts.miss(process.subject(&mapping), miss)?;
                break;
            }
            self.left = self.left.saturating_sub(1);
            let Mapping { device, inode, .. } = mapping;
            let mut file = Mapped { path: mapping.path.clone(), device, inode, ..Mapped::default() };
            match library::find(process.dir, &self.root, &mapping, process.way, &process.view) {
                Ok((path, attributes)) => {
                    let differs = process.compare(seen, &mapping, &path, &mut differences, attempts);
                    let found = (&path, &attributes);
                    self.keep(&mut file, process, &mapping, found, differs, taken, attempts)?;
                }
                Err(miss) => {
                    file.missing = Some(miss.detail.clone());
                    attempts.miss(process.subject(&mapping), miss)?;
                }
            }
            files.push(file);
        }
        Ok(files)
    }

    #[expect(clippy::too_many_arguments, reason = "a file, what is known of it, and where it goes")]
    fn keep(
        &mut self,
        file: &mut Mapped,
        process: &Process<'_>,
        mapping: &Mapping,
        (path, attributes): (&OwnedFd, &Attributes),
        differs: bool,
        taken: &mut HashMap<Key, Name>,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Error> {
        let name = mapping.path.as_slice();
        file.size = Some(attributes.size);
        file.links = Some(attributes.links);
        file.package = attributes.links > 0 && self.packages.own(name, attributes);
        if let Some(artifact) = taken.get(&key(attributes)) {
            file.artifact = Some(artifact.clone());
            return Ok(());
        }
        // A package that was just installed is young, and its files are no less its own.
        let odd = policy::odd(name, attributes, self.now, RECENT_S);
        let ordinary = file.package && odd.is_none_or(|odd| odd == Odd::Recent);
        if ordinary && !differs && self.policy == Libraries::Foreign {
            match self.hash(path, attributes, attempts) {
                Ok(hash) => file.sha256 = Some(hash),
                Err(miss) => {
                    file.missing = Some(miss.detail.clone());
                    attempts.miss(process.subject(mapping), miss)?;
                }
            }
            return Ok(());
        }
        file.artifact = take(process, mapping, path, attributes, attempts)?;
        match &file.artifact {
            Some(name) => drop(taken.insert(key(attributes), name.clone())),
            None => file.missing = Some("it could not be taken: see the attempt".to_owned()),
        }
        Ok(())
    }

    fn hash(
        &mut self,
        path: &OwnedFd,
        attributes: &Attributes,
        attempts: &Attempts<'_>,
    ) -> Result<String, Miss> {
        if let Some(hash) = self.hashed.get(&key(attributes)) {
            return Ok(hash.clone());
        }
        let hash = library::sha256(path, attempts.room().deadline)?;
        self.hashed.insert(key(attributes), hash.clone());
        Ok(hash)
    }
}

/// Its bytes, by the name of the mapping; the name in the bundle.
fn take(
    process: &Process<'_>,
    mapping: &Mapping,
    path: &OwnedFd,
    attributes: &Attributes,
    attempts: &mut Attempts<'_>,
) -> Result<Option<Name>, Error> {
    let name = mapping.path.as_slice();
    let base = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let base = base.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let label = [format!("{:x}-", mapping.start).as_bytes(), base].concat();
    let folders = ["process", &process.short, "code"];
    let note = (attributes.links == 0).then(|| "its file has no name any more".to_owned());
    content::take(attempts, &process.subject(mapping), &folders, &label, path, attributes, note)
}
