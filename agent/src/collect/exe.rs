//! The executables of living processes, through /proc/PID/exe: a path is worthless once its file was deleted or
//! replaced, and a memfd has none.

use std::collections::HashMap;

use super::attempts::{Attempts, Miss};
use super::content::{self, Key, key};
use super::mounted::Sight;
use super::procdir::ProcDir;
use super::{Context, deleted};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::plan::InScope;

/// A mount table of a host with thousands of containers has some megabytes.
pub(super) const MOUNTINFO_MAX: u64 = 16 << 20;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    // Before anything takes long.
    deleted::hold(context);
    let scope: Vec<&InScope> = context.plan.scope.iter().filter(|one| one.exe).collect();
    attempts.expect(scope.len());
    let sight = Sight::new(&context.job.places.proc);
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
        executable(&dir, &sight, &subject, &mut context.taken, attempts)?;
    }
    Ok(())
}

fn executable(
    dir: &ProcDir,
    sight: &Sight,
    subject: &str,
    taken: &mut HashMap<Key, Name>,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let looked = dir.path("exe").map_err(|error| Miss::at("look at exe", &error));
    let found = looked.and_then(|path| Ok((sight.of(dir).regular(&path)?, path)));
    let (attributes, path) = match found {
        Ok(found) => found,
        Err(miss) => return attempts.miss(subject, miss),
    };
    if let Some(name) = taken.get(&key(&attributes)) {
        return attempts.same(subject, name);
    }
    let short = dir.id().short();
    let note = (attributes.links == 0).then(|| "its file has no name any more".to_owned());
    if let Some(name) =
        content::take(attempts, subject, &["process", &short], b"exe", &path, &attributes, note)?
    {
        taken.insert(key(&attributes), name);
    }
    Ok(())
}

#[cfg(test)]
#[path = "exe_test.rs"]
mod tests;
