//! The executables of living processes, through /proc/PID/exe: a path is worthless once its file was deleted or
//! replaced, and a memfd has none.

use std::collections::HashMap;

use super::Context;
use super::attempts::{Attempts, Miss};
use super::file::{Remote, regular, reopen, whole};
use super::procdir::ProcDir;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::plan::InScope;

/// A mount table of a host with thousands of containers has some megabytes.
pub(super) const MOUNTINFO_MAX: u64 = 16 << 20;

/// Which file: device, inode, and its last change (inode numbers are used again).
type Key = ((u32, u32), u64, Option<(i64, u32)>);

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let scope: Vec<&InScope> = context.plan.scope.iter().filter(|one| one.exe).collect();
    attempts.expect(scope.len());
    let mut taken: HashMap<Key, Name> = HashMap::new();
    for one in scope {
        let subject = format!("{} exe", one.id.short());
        let dir = match context.pinned.get(one.id) {
            Ok(dir) if dir.is_agent() => {
                attempts.miss(subject, Miss::refused("it is a process of the agent itself"))?;
                continue;
            }
            Ok(dir) => dir,
            Err(miss) => {
                attempts.miss(subject, miss)?;
                continue;
            }
        };
        executable(&dir, subject, &mut taken, attempts)?;
    }
    Ok(())
}

fn executable(
    dir: &ProcDir,
    subject: String,
    taken: &mut HashMap<Key, Name>,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let remote = Remote::of(&dir.text("mountinfo", MOUNTINFO_MAX).map(|(text, _)| text).unwrap_or_default());
    let looked = dir.path("exe").map_err(|error| Miss::at("look at exe", &error));
    let (path, attributes) =
        match looked.and_then(|path| regular(&path, &remote).map(|attributes| (path, attributes))) {
            Ok(found) => found,
            Err(miss) => return attempts.miss(subject, miss),
        };
    let key = (attributes.device, attributes.inode, attributes.times[2]);
    if let Some(name) = taken.get(&key) {
        return attempts.same(subject, name);
    }
    let name = Name::data(&["process", &dir.id().short(), "exe"]);
    let added = attempts.take(subject, &name, |room| {
        let found = whole(reopen(&path)?, attributes.size, room)?;
        Ok(if attributes.links == 0 { found.noting("its file has no name any more") } else { found })
    })?;
    if added {
        taken.insert(key, name);
    }
    Ok(())
}

#[cfg(test)]
#[path = "exe_test.rs"]
mod tests;
