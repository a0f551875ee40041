//! What is started: found on the host as whoever starts it would find it.

use std::collections::HashMap;

use crate::bundle::Outcome;
use crate::collect::matching::Matching;
use crate::collect::walk::Walker;
use crate::definitions::Pattern;
use crate::persistence::{Kind, Start};

/// Where programs without a path are looked for.
const PATH: [&[u8]; 6] =
    [b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin"];
/// Where udev looks first.
const UDEV: [&[u8]; 2] = [b"/usr/lib/udev", b"/lib/udev"];
/// Where PAM's modules are.
const SECURITY: [&str; 6] = [
    "/usr/lib/*/security",
    "/usr/lib/security",
    "/usr/lib64/security",
    "/lib/*/security",
    "/lib/security",
    "/lib64/security",
];
/// Different targets of one capture.
const TARGETS_MAX: usize = 50_000;

/// One program, script, library or unit.
#[derive(Debug)]
pub(super) struct Target {
    /// As it is written.
    pub(super) named: Vec<u8>,
    found: Result<Vec<u8>, Outcome>,
}

impl Target {
    /// Where it lies, without links.
    pub(super) fn path(&self) -> Option<&Vec<u8>> {
        self.found.as_ref().ok()
    }

    /// Nothing where that cannot be known: a variable in its name, a link that is not followed.
    pub(super) fn exists(&self) -> Option<bool> {
        match self.found {
            Ok(_) => Some(true),
            Err(Outcome::Gone) => Some(false),
            Err(_) => None,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: HashMap<(Lookup, Vec<u8>), Target>,
    security: Vec<Vec<u8>>,
}

/// Where a name without a path is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lookup {
    Path,
    Udev,
    Pam,
}

impl Targets {
    pub(super) fn new(walker: &mut Walker) -> Self {
        let mut security = Vec::new();
        for pattern in SECURITY {
            let Ok(pattern) = Pattern::parse(pattern.as_bytes()) else { continue };
            let mut matching = Matching::new(walker, &[]);
            matching.look(&pattern);
            security.extend(matching.found.into_keys());
        }
        security.dedup();
        Self { all: HashMap::new(), security }
    }

    /// Looks for what `start` names.
    pub(super) fn look(&mut self, kind: Kind, start: &Start, walker: &Walker) {
        let Some(key) = key(kind, start) else { return };
        if self.all.len() >= TARGETS_MAX || self.all.contains_key(&key) {
            return;
        }
        let (lookup, named) = &key;
        let found = if named.iter().any(|byte| b"$%*{<>\n".contains(byte)) {
            Err(Outcome::Refused)
        } else if named.starts_with(b"/") {
            walker.resolve(named).map(|entry| entry.path).map_err(|miss| miss.outcome)
        } else if named.contains(&b'/') {
            Err(Outcome::Refused)
        } else {
            self.search(*lookup, named, walker).ok_or(Outcome::Refused)
        };
        let target = Target { named: named.clone(), found };
        self.all.insert(key, target);
    }

    fn search(&self, lookup: Lookup, name: &[u8], walker: &Walker) -> Option<Vec<u8>> {
        let folders: Vec<&[u8]> = match lookup {
            Lookup::Path => PATH.to_vec(),
            Lookup::Udev => [&UDEV[..], &PATH].concat(),
            Lookup::Pam => self.security.iter().map(Vec::as_slice).collect(),
        };
        let found = |folder: &[u8]| Some(walker.resolve(&[folder, b"/", name].concat()).ok()?.path);
        folders.into_iter().find_map(found)
    }

    pub(super) fn of(&self, kind: Kind, start: &Start) -> Option<&Target> {
        self.all.get(&key(kind, start)?)
    }

    /// Where they lie.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.all.values().filter_map(Target::path)
    }
}

fn key(kind: Kind, start: &Start) -> Option<(Lookup, Vec<u8>)> {
    let lookup = match kind {
        Kind::Pam => Lookup::Pam,
        Kind::Udev => Lookup::Udev,
        _ => Lookup::Path,
    };
    Some((lookup, start.target.clone().filter(|target| !target.is_empty())?))
}
