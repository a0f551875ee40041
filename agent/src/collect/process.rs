//! The state of each process in scope: what /proc says of it, as it says it, and as JSON where that helps.

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::descriptors::{descriptors, links};
use super::freeze::TaskList;
use super::state::state;
use super::threads::threads;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::capture::job::{BY_POLICY, Omit};
use crate::plan::InScope;

/// What is copied of everybody, and at most how many bytes of it.
const TEXTS: &[(&str, u64)] = &[
    ("status", 64 << 10),
    ("stat", 4 << 10),
    ("cmdline", 4 << 20),
    ("environ", 16 << 20),
    ("maps", 16 << 20),
    ("cgroup", 64 << 10),
];

/// What is copied of those who matter more than a look at the whole host does.
const MORE_TEXTS: &[(&str, u64)] = &[
    ("limits", 16 << 10),
    ("syscall", 4 << 10),
    ("wchan", 4 << 10),
    ("stack", 64 << 10),
    ("io", 4 << 10),
    ("loginuid", 64),
    ("sessionid", 64),
    ("uid_map", 64 << 10),
    ("gid_map", 64 << 10),
    ("setgroups", 64),
    ("auxv", 4 << 10),
    ("mountinfo", 4 << 20),
    ("smaps", 16 << 20),
    ("timers", 1 << 20),
    ("timerslack_ns", 64),
    ("timens_offsets", 4 << 10),
    ("oom_score_adj", 64),
    ("coredump_filter", 64),
    ("personality", 64),
    ("attr/current", 4 << 10),
];

/// Beside the texts: descriptors, links; state, threads, smear.
const JSON: usize = 2;
const MORE_JSON: usize = 3;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let scope: Vec<InScope> = context.plan.scope.clone();
    let count = |one: &InScope| match (one.state, one.all_state) {
        (false, _) => 1,
        (true, false) => TEXTS.len() + JSON,
        (true, true) => TEXTS.len() + MORE_TEXTS.len() + JSON + MORE_JSON,
    };
    attempts.expect(scope.iter().map(count).sum());
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
    let before = TaskList::at(&dir);
    let more = if one.all_state { MORE_TEXTS } else { &[] };
    for (text, max) in TEXTS.iter().chain(more) {
        let subject = format!("{short} {text}");
        if *text == "environ" && one.omitted.contains(&Omit::Environment) {
            attempts.miss(subject, Miss::refused(BY_POLICY))?;
            continue;
        }
        let name = Name::data(&["process", &short, &text.replace('/', "-")]);
        attempts.take(subject, &name, |_| {
            let found = dir.found(text, *max);
            // The bytes are of the process that was meant: the directory is pinned. It is looked at whole only where
            // there are none, as it may have ended.
            if found.as_ref().is_ok_and(|found| !found.is_empty()) {
                dir.is_there()?;
            } else {
                dir.check()?;
            }
            found.map_err(|miss| dir.missed(miss))
        })?;
    }
    if one.omitted.contains(&Omit::Memory) {
        attempts.miss(format!("{short} core"), Miss::refused(BY_POLICY))?;
    }
    let checked = |found| dir.check().map(|()| found);
    let mut json = |name: &str, find: &mut dyn FnMut() -> Result<Found<'static>, Miss>| {
        let artifact = Name::data(&["process", &short, &format!("{name}.json")]);
        attempts.take(format!("{short} {name}"), &artifact, |_| find().and_then(checked))
    };
    json("ns", &mut || links(&dir))?;
    json("fd", &mut || descriptors(&context.look.around, &dir))?;
    if one.all_state {
        json("state", &mut || state(&dir))?;
        json("threads", &mut || threads(&dir))?;
        json("smear", &mut || {
            let smear = before.until_now(&dir);
            Ok(Found::json(&smear)?.lacking(smear.lack()).noting(smear.said()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "process_test.rs"]
mod tests;
