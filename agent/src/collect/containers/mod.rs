//! Containers: what their runtimes have written down, who lives in them, who did, and what they have changed of their
//! image. No runtime is asked: it may hang, and it is a door that an intruder may hold.

mod gather;
mod layer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::exe::MOUNTINFO_MAX;
use super::packages::lines;
use super::walk::Walker;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::containers::{Container, cgroup, overlay};
use crate::event::ProcessId;
use crate::plan::Why;
use crate::text::Bytes;

/// Containers in the table, and processes that are listed of one.
const CONTAINERS_MAX: usize = 10_000;
const PROCESSES_MAX: usize = 1_000;
/// Containers whose changes are listed, and entries that are looked at for that.
const LAYERS_MAX: usize = 200;
const ENTRIES_MAX: usize = 500_000;
/// The most time all of this may take, and its part of what is left.
const TIME_MAX: Duration = Duration::from_mins(2);
const TIME_PART: u32 = 4;

/// What is known of one container.
#[derive(Debug, Default, Serialize)]
struct Row {
    #[serde(flatten)]
    container: Container,
    /// `running`: somebody lives in it. `stopped`: it has records only. `gone`: nothing but the history knows it.
    state: &'static str,
    /// Where it is in the hierarchy of control groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<Bytes>,
    /// The pod's UID, as the control group says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_uid: Option<String>,
    /// Where what it writes is, on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    upper: Option<Bytes>,
    #[serde(skip)]
    lower: Vec<Vec<u8>>,
    /// The runtime's records.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    records: BTreeSet<Bytes>,
    living: Vec<ProcessId>,
    exited: Vec<ProcessId>,
    /// Processes that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    more_processes: usize,
    /// What was run in it, as far as the history goes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    executables: BTreeSet<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
    /// Whether a process in scope is, or was, in it.
    in_scope: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// All of them, by id.
#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<String, Row>,
    left_out: usize,
}

impl Table {
    fn row(&mut self, id: &str) -> Option<&mut Row> {
        if !self.rows.contains_key(id) && self.rows.len() >= CONTAINERS_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        Some(self.rows.entry(id.to_owned()).or_default())
    }

    fn record(&mut self, container: Container, path: &[u8]) {
        if let Some(row) = self.row(&container.id) {
            row.container.id.clone_from(&container.id);
            row.container.join(container);
            row.records.insert(Bytes::from(path));
        }
    }

    /// Says that a process was seen in the control group `path`; its row, if that is a container's.
    fn place(&mut self, path: &[u8]) -> Option<&mut Row> {
        let place = cgroup::of(path)?;
        let row = self.row(&place.id)?;
        row.container.join(Container { runtime: place.runtime, ..Container::default() });
        row.container.id = place.id;
        row.pod_uid = row.pod_uid.take().or(place.pod);
        row.cgroup.get_or_insert_with(|| Bytes::from(path));
        Some(row)
    }
}

impl Row {
    fn seen(&mut self, time: Timestamp) {
        self.first_seen = Some(self.first_seen.map_or(time, |first| first.min(time)));
        self.last_seen = Some(self.last_seen.map_or(time, |last| last.max(time)));
    }

    fn process(&mut self, id: ProcessId, living: bool) {
        let list = if living { &mut self.living } else { &mut self.exited };
        if list.len() < PROCESSES_MAX {
            list.push(id);
        } else {
            self.more_processes = self.more_processes.saturating_add(1);
        }
    }
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    let until = Instant::now() + (left / TIME_PART).min(TIME_MAX);
    let places = &context.job.places;
    let mut walker = Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let mut table = Table::default();
    living(context, &mut table);
    past(context, &mut table);
    for (path, miss) in gather::records(&mut walker, &mut table) {
        attempts.miss(crate::text::escape(&path), miss)?;
    }
    for row in table.rows.values_mut() {
        row.state = match (row.living.is_empty(), row.records.is_empty()) {
            (false, _) => "running",
            (true, false) => "stopped",
            (true, true) => "gone",
        };
        if row.upper.is_none() {
            row.upper = gather::upper(&walker, &row.container).map(Bytes);
        }
    }
    let left_out = table.left_out;
    attempts.take("table of containers", &Name::data(&["containers.jsonl"]), |_| {
        let lack = (left_out > 0).then(|| Miss::partial(format!("{left_out} more could not be listed")));
        Ok(Found::bytes(lines(table.rows.values())?).lacking(lack))
    })?;
    // Those that the trigger means first, then those that run.
    let mut rows: Vec<&Row> = table.rows.values().collect();
    rows.sort_by_key(|row| (!row.in_scope, row.living.is_empty()));
    changes(&rows, &mut walker, attempts)?;
    match walker.miss() {
        Some(miss) => attempts.miss("containers' records and layers", miss),
        None => Ok(()),
    }
}

/// Those in which somebody lives, and what is mounted as their root.
fn living(context: &Context<'_>, table: &mut Table) {
    let close: BTreeSet<ProcessId> =
        context.plan.scope.iter().filter(|one| one.why < Why::Host).map(|one| one.id).collect();
    let mut standings: Vec<_> = context.look.around.standings.iter().collect();
    standings.sort_by_key(|(id, _)| (id.start, id.pid));
    for (id, standing) in standings {
        let Some(row) = table.place(standing.cgroup.as_slice()) else { continue };
        row.process(*id, true);
        row.in_scope |= close.contains(id);
        if row.upper.is_some() {
            continue;
        }
        let text = context.pinned.get(*id).and_then(|dir| dir.text("mountinfo", MOUNTINFO_MAX));
        if let Some(overlay) = text.ok().and_then(|(text, _)| overlay::at(&text, b"/")) {
            row.upper = Some(Bytes(overlay.upper));
            row.lower = overlay.lower;
        }
    }
}

/// Those of which the history knows: what ran in them, and from when to when.
fn past(context: &Context<'_>, table: &mut Table) {
    let boot = context.job.facts.boot;
    let close: BTreeSet<ProcessId> =
        context.plan.scope.iter().filter(|one| one.why < Why::Host).map(|one| one.id).collect();
    let mut nodes: Vec<_> = context.tree.nodes().collect();
    nodes.sort_by_key(|node| (node.seen, node.id));
    for node in nodes {
        let mut counted = false;
        for (time, image) in &node.images {
            let Some(row) = table.place(image.cgroup.as_slice()) else { continue };
            row.seen(*time);
            row.in_scope |= close.contains(&node.id);
            if row.executables.len() < PROCESSES_MAX {
                row.executables.insert(image.executable.clone());
            }
            if let Some((time, _)) = &node.exited {
                row.seen(*time);
            }
            if !counted && !node.lives_in(boot) {
                row.process(node.id, false);
                counted = true;
            }
        }
    }
}

/// What the writable layers hold.
fn changes(rows: &[&Row], walker: &mut Walker, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let mut room = layer::Room::default();
    let mut left_out = 0_usize;
    for (count, row) in rows.iter().filter(|row| row.upper.is_some()).enumerate() {
        let Some(upper) = &row.upper else { continue };
        if count >= LAYERS_MAX {
            left_out = left_out.saturating_add(1);
            continue;
        }
        let folder = layer::folder(&row.container.id);
        let name = Name::data(&[b"container".as_slice(), folder.as_bytes(), b"changes.jsonl"]);
        attempts.take(format!("writable layer of {folder}"), &name, |_| {
            layer::changes(upper.as_slice(), &row.lower, walker, &mut room)
        })?;
    }
    if left_out == 0 {
        return Ok(());
    }
    let words = "enough writable layers were looked at";
    attempts
        .miss(format!("writable layers of {left_out} more containers"), Miss::new(Outcome::OverBudget, words))
}

#[cfg(test)]
#[path = "containers_test.rs"]
mod tests;
