//! Every place from which a program can start again, in one table: `persistence.jsonl`. What the files say is read by
//! [`crate::persistence`]; here they are found, opened, hashed, and held against their packages.

mod gather;
mod judge;
mod target;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found};
use super::names::split;
use super::packages::{Inventory, Judged, know, lines, running};
use super::passwd::{homes, users};
use super::system::Attributes;
use super::walk::Walker;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::history::packages::Packages;
use crate::persistence::lines::base;
use crate::persistence::{Kind, Who};
use crate::text::{self, Bytes};

use gather::{Gathered, gather};
use target::{Target, Targets};

/// Entries that are looked at.
const ENTRIES_MAX: usize = 500_000;

/// A file that starts something suspicious, or is what is started.
#[derive(Debug)]
pub(super) struct Suspicious {
    pub(super) path: Vec<u8>,
    pub(super) reasons: Vec<String>,
    pub(super) attributes: Attributes,
}

/// One line of the table.
#[derive(Serialize)]
struct Row<'a> {
    place: Kind,
    path: Bytes,
    /// Which line says so; 0 for a whole file.
    line: u32,
    who: Bytes,
    what: Bytes,
    when: &'a str,
    file: Option<&'a Judged>,
    target: Option<Shown<'a>>,
    reasons: Vec<String>,
}

/// What is started.
#[derive(Serialize)]
struct Shown<'a> {
    path: Bytes,
    exists: Option<bool>,
    file: Option<&'a Judged>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    let until = Instant::now() + (left / 4).min(Duration::from_mins(3));
    let places = &context.job.places;
    let mut walker = Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let mut people = homes(&walker);
    if people.iter().all(|user| user.home != b"/root") {
        people.push(super::passwd::User { name: b"root".to_vec(), uid: 0, home: b"/root".to_vec() });
    }
    let Gathered { files, refused, .. } = gather(&mut walker, &people);
    for (path, miss) in refused {
        attempts.miss(text::escape(&path), miss)?;
    }
    let mut targets = Targets::new(&mut walker);
    for file in &files {
        for start in &file.starts {
            targets.look(file.kind, start, &walker);
        }
    }
    let running = running(context, &walker);
    let wanted: HashSet<Vec<u8>> = files
        .iter()
        .map(|file| file.path.clone())
        .chain(targets.paths().cloned())
        .chain(running.keys().cloned())
        .collect();
    let known = know(&mut walker, &places.root, &wanted);
    let mut inventory = Inventory::new(known, Packages::new(&places.root), until, running);
    for file in &files {
        inventory.judge(&file.path, &walker);
    }
    for path in targets.paths() {
        inventory.judge(path, &walker);
    }
    let users: BTreeMap<Vec<u8>, u32> =
        users(&walker).into_iter().map(|user| (user.name, user.uid)).collect();
    let units = judge::units(&files);
    let mut rows = Vec::new();
    let mut suspicious = Vec::new();
    for file in &files {
        let own = inventory.files.get(&file.path);
        for start in &file.starts {
            if judge::is_noise(file.kind, start, own) {
                continue;
            }
            let target = targets.of(file.kind, start);
            let led = target.and_then(Target::path).and_then(|path| inventory.files.get(path));
            let who = judge::who(start, &units);
            let case = judge::Case { file, start, own, target, led, who, users: &users };
            let reasons = judge::reasons(&case, inventory.is_understood());
            suspicious.extend(judge::suspicious(&case, &reasons));
            rows.push(row(&case, reasons));
        }
    }
    judge_by_units(&mut rows);
    let (count, odd) = (rows.len(), rows.iter().filter(|row| !row.reasons.is_empty()).count());
    attempts.take("table of persistence", &Name::data(&["persistence.jsonl"]), |_| {
        let found = Found::bytes(lines(rows.iter())?).lacking(walker.miss());
        Ok(found.noting(format!("{count} entries, {odd} of them suspicious")))
    })?;
    drop(rows);
    (context.inventory, context.suspicious) = (Some(inventory), suspicious);
    Ok(())
}

fn row<'a>(case: &judge::Case<'a>, reasons: Vec<String>) -> Row<'a> {
    let target = case.target.map(|target| Shown {
        path: Bytes::from(&target.named),
        exists: target.exists(),
        // A whole file is told already.
        file: case.led.filter(|_| target.named != case.file.path),
    });
    Row {
        place: case.file.kind,
        path: Bytes::from(&case.file.path),
        line: case.start.line,
        who: Bytes::from(&match &case.who {
            Who::User(name) => name.clone(),
            Who::Everybody => b"every user".to_vec(),
            Who::Unit(name) => [b"the user of ", name.as_slice()].concat(),
        }),
        what: Bytes::from(&case.start.what),
        when: &case.start.when,
        file: case.own,
        target,
        reasons,
    }
}

/// What starts a suspicious unit of systemd (a timer, a link) is suspicious itself.
fn judge_by_units(rows: &mut [Row<'_>]) {
    let odd = |row: &&Row<'_>| !row.reasons.is_empty();
    let units: HashSet<Vec<u8>> =
        rows.iter().filter(odd).filter_map(|row| unit_of(row.place, row.path.as_slice())).collect();
    for row in rows {
        let starts = match row.place {
            Kind::SystemdLink => Some(base(row.what.as_slice())),
            Kind::SystemdUnit if row.target.is_none() => Some(row.what.as_slice()),
            _ => None,
        };
        if starts.is_some_and(|name| units.contains(name)) {
            row.reasons.push("starts a suspicious unit".to_owned());
        }
    }
}

/// The unit that a file is, or adds to.
fn unit_of(place: Kind, path: &[u8]) -> Option<Vec<u8>> {
    match place {
        Kind::SystemdUnit => Some(base(path).to_vec()),
        Kind::SystemdDropIn => Some(base(split(path).0).strip_suffix(b".d")?.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "persistence_test.rs"]
mod tests;
