//! Libraries that are put before all others: `LD_PRELOAD` and `LD_AUDIT` in the environments of processes, and
//! /etc/ld.so.preload; and which processes have them in their memory. What a package brought is none of these.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::Context;
use super::super::attempts::{Attempts, Miss, read_bounded};
use super::super::file::{regular, reopen};
use super::super::names::split;
use super::super::procdir::ProcDir;
use super::super::walk::Walker;
use super::finding::{Finding, Report, take};
use crate::bundle::writer::Error;
use crate::capture::job::{BY_POLICY, Omit};
use crate::event::ProcessId;
use crate::history::packages::Packages;
use crate::proc::mappings;
use crate::text::Bytes;

const ENVIRONMENT_MAX: u64 = 4 << 20;
const MAPS_MAX: u64 = 32 << 20;
const LIST_MAX: u64 = 1 << 20;
/// Libraries that are looked for, and processes named of one.
const LIBRARIES_MAX: usize = 1_000;
const NAMED_MAX: usize = 100;
const LIST: &[u8] = b"/etc/ld.so.preload";
const VARIABLES: [&[u8]; 2] = [b"LD_PRELOAD", b"LD_AUDIT"];

const IN_ENVIRONMENT: &str = "a library that no package brought is put before all others by the environment";
const IN_LIST: &str =
    "a library that no package brought is put before all others in every process by /etc/ld.so.preload";
/// A name without a slash is looked for in the loader's own folders.
type Libraries = BTreeMap<Bytes, BTreeSet<u32>>;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let (job, tree) = (context.job, context.tree);
    let living: Vec<ProcessId> =
        tree.nodes().filter(|node| node.lives_in(job.facts.boot)).map(|node| node.id).collect();
    let omitted = context.plan.limits.omit.contains(&Omit::Environment);
    take(&mut context.noted, attempts, ("libraries that are put before all others", "preload"), |room| {
        let mut report = Report::default();
        let walker = Walker::new(&job.places.root, &job.places.proc, 0, room.deadline);
        let listed = match list(&walker) {
            Ok(text) => in_list(&text),
            Err(miss) if miss.outcome == crate::bundle::Outcome::Gone => BTreeSet::new(),
            Err(miss) => {
                report.lack(format!("/etc/ld.so.preload: {}", miss.detail));
                BTreeSet::new()
            }
        };
        report.compared("/etc/ld.so.preload", listed.len());
        let (mut asked, mut many) = (Libraries::new(), false);
        let every = || living.iter().filter_map(|id| ProcDir::open(&job.places.proc, *id).ok());
        if omitted {
            report.lack(format!("environments: {BY_POLICY}"));
        } else {
            for dir in every().take_while(|_| Instant::now() < room.deadline) {
                let (text, _) = dir.text("environ", ENVIRONMENT_MAX).unwrap_or_default();
                report.compared("environments", 1);
                for library in in_environment(&text) {
                    if asked.len() < LIBRARIES_MAX || asked.contains_key(&library) {
                        asked.entry(library).or_default().insert(dir.id().pid);
                    } else if !std::mem::replace(&mut many, true) {
                        report.lack(format!("more than {LIBRARIES_MAX} libraries are asked for"));
                    }
                }
            }
        }
        if asked.is_empty() && listed.is_empty() {
            return Ok(report);
        }
        let mut mapped = Libraries::new();
        for dir in every().take_while(|_| Instant::now() < room.deadline) {
            let (text, _) = dir.text("maps", MAPS_MAX).unwrap_or_default();
            for path in
                mappings(&text).into_iter().filter(|mapping| mapping.inode != 0).map(|mapping| mapping.path)
            {
                if asked.keys().chain(&listed).any(|library| is_meant(library, &path)) {
                    mapped.entry(path).or_default().insert(dir.id().pid);
                }
            }
        }
        if Instant::now() >= room.deadline {
            report.lack("not all processes could be looked at in time".to_owned());
        }
        let mut packages = Packages::new(&job.places.root);
        let mut own =
            |path: &[u8]| walker.find(path).is_ok_and(|found| packages.own(path, &found.attributes));
        report.extend(judge(&asked, &listed, &mapped, &mut own));
        Ok(report)
    })
}

fn list(walker: &Walker) -> Result<Vec<u8>, Miss> {
    let entry = walker.find(LIST)?;
    regular(&entry.fd, &walker.remote)?;
    let (text, _) = read_bounded(reopen(&entry.fd)?, LIST_MAX)
        .map_err(|error| Miss::at("read /etc/ld.so.preload", &error))?;
    Ok(text)
}

/// What the libraries of a list are; `packaged` says whether a package brought the file at a path. Pure, but for that.
fn judge(
    asked: &Libraries,
    listed: &BTreeSet<Bytes>,
    mapped: &Libraries,
    packaged: &mut dyn FnMut(&[u8]) -> bool,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let every = asked.iter().map(|(library, pids)| (library, IN_ENVIRONMENT, Some(pids)));
    for (library, reason, pids) in every.chain(listed.iter().map(|library| (library, IN_LIST, None))) {
        let loaded: Vec<(&Bytes, &BTreeSet<u32>)> =
            mapped.iter().filter(|(path, _)| is_meant(library, path)).collect();
        // Where it is, by the memory of those who have loaded it; else where the name says. Another file of the same name,
        // such as a package's, hides none.
        let exact: Vec<_> =
            loaded.iter().copied().filter(|(path, _)| undeleted(path) == library.as_slice()).collect();
        let loaded = if exact.is_empty() { loaded } else { exact };
        let named_only = loaded.is_empty() && library.as_slice().starts_with(b"/");
        // A name that nothing was loaded for is nothing: the loader says so on stderr and goes on.
        let nobody = BTreeSet::new();
        let at = loaded.into_iter().chain(named_only.then_some((library, &nobody)));
        let source = if pids.is_some() { "environments" } else { "/etc/ld.so.preload" };
        let says = pids
            .map_or_else(|| library.clone(), |pids| Bytes::from(&*format!("{library} in {}", named(pids))));
        for (path, memory) in at.filter(|(path, _)| !packaged(path.as_slice())) {
            let memory = if memory.is_empty() { "nobody has it".to_owned() } else { named(memory) };
            found.push(
                Finding::new(path.as_slice(), reason)
                    .view(source, says.clone())
                    .view("maps of processes", memory.as_bytes())
                    .file(path.as_slice()),
            );
        }
    }
    found
}

fn undeleted(path: &Bytes) -> &[u8] {
    path.as_slice().strip_suffix(b" (deleted)").unwrap_or(path.as_slice())
}

/// Whether a mapping's path is that of `library`, which may be a name alone.
fn is_meant(library: &Bytes, path: &Bytes) -> bool {
    let path = undeleted(path);
    if library.as_slice().contains(&b'/') {
        // By another name (a link, a merged folder, `$LIB`) it has the same end.
        path == library.as_slice() || split(path).1 == split(library.as_slice()).1
    } else {
        split(path).1 == library.as_slice()
    }
}

fn named(pids: &BTreeSet<u32>) -> String {
    let some: Vec<String> = pids.iter().take(NAMED_MAX).map(u32::to_string).collect();
    let more = pids.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("pids {}{more}", some.join(", "))
}

/// The libraries that an environment asks for (ld.so(8)): separated by spaces or colons.
fn in_environment(text: &[u8]) -> BTreeSet<Bytes> {
    let value = |variable: &'static [u8]| {
        text.split(|&byte| byte == 0).filter_map(move |one| one.strip_prefix(variable)?.strip_prefix(b"="))
    };
    let values = VARIABLES.into_iter().flat_map(value);
    values.flat_map(|value| words(value, b" :")).collect()
}

/// The libraries of /etc/ld.so.preload: separated by white space or colons; `#` begins a comment.
fn in_list(text: &[u8]) -> BTreeSet<Bytes> {
    let line = |line: &[u8]| line.split(|&byte| byte == b'#').next().unwrap_or_default().to_vec();
    let lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(line).collect();
    lines.iter().flat_map(|line| words(line, b" :\t\r")).take(LIBRARIES_MAX).collect()
}

fn words(text: &[u8], separators: &'static [u8]) -> Vec<Bytes> {
    let words = text.split(|byte| separators.contains(byte));
    words.filter(|word| !word.is_empty()).take(LIBRARIES_MAX).map(Bytes::from).collect()
}

#[cfg(test)]
#[path = "preload_test.rs"]
mod tests;
