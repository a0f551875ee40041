//! The state of each process in scope: what /proc says of it, as it says it, and as JSON where that helps.

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::descriptors::{descriptors, links, threads};
use super::freeze::Look;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::plan::InScope;

/// What is copied, and at most how many bytes of it.
const TEXTS: &[(&str, u64)] = &[
    ("status", 64 << 10),
    ("stat", 4 << 10),
    ("cmdline", 4 << 20),
    ("environ", 16 << 20),
    ("maps", 16 << 20),
    ("cgroup", 64 << 10),
    ("limits", 16 << 10),
    ("syscall", 4 << 10),
    ("wchan", 4 << 10),
    ("stack", 64 << 10),
    ("io", 4 << 10),
    ("loginuid", 64),
    ("sessionid", 64),
    ("uid_map", 64 << 10),
    ("gid_map", 64 << 10),
    ("auxv", 4 << 10),
    ("mountinfo", 4 << 20),
    ("smaps", 16 << 20),
];

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let scope: Vec<InScope> = context.plan.scope.clone();
    attempts.expect(scope.iter().map(|one| if one.state { TEXTS.len() + 4 } else { 1 }).sum());
    scope.iter().try_for_each(|one| process(context, one, attempts))
}

fn process(context: &Context<'_>, one: &InScope, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let short = one.id.short();
    if !one.state {
        let miss = Miss::new(Outcome::Gone, "it had exited; its record is in process/tree.json");
        return attempts.miss(format!("{short} state"), miss);
    }
    let dir = match context.pinned.get(one.id) {
        Ok(dir) if dir.is_agent() => {
            let miss = Miss::refused("it is a process of the agent itself");
            return attempts.miss(format!("{short} state"), miss);
        }
        Ok(dir) => dir,
        Err(miss) => return attempts.miss(format!("{short} state"), miss),
    };
    let before = Look::at(&dir);
    for (text, max) in TEXTS {
        let name = Name::data(&["process", &short, text]);
        attempts.take(format!("{short} {text}"), &name, |_| {
            let found = dir.found(text, *max);
            // The bytes are of the process that was meant: the directory is pinned, and it still lives.
            dir.check()?;
            found.map_err(|miss| dir.missed(miss))
        })?;
    }
    let checked = |found| dir.check().map(|()| found);
    let mut json = |name: &str, find: &mut dyn FnMut() -> Result<Found<'static>, Miss>| {
        let artifact = Name::data(&["process", &short, &format!("{name}.json")]);
        attempts.take(format!("{short} {name}"), &artifact, |_| find().and_then(checked))
    };
    json("fd", &mut || descriptors(context, &dir))?;
    json("ns", &mut || links(&dir))?;
    json("threads", &mut || threads(&dir))?;
    json("smear", &mut || {
        let smear = before.until_now(&dir);
        Ok(Found::json(&smear)?.lacking(smear.lack()).noting(smear.said()))
    })?;
    Ok(())
}

#[cfg(test)]
#[path = "process_test.rs"]
mod tests;
