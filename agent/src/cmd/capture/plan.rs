//! `afterimage capture --dry-run`: what would be taken, and why, before any memory or file is read.

use std::io::Write;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::super::worker::read_history;
use super::super::{Context, Error, Exit};
use crate::capture::job::Job;
use crate::capture::recall::Recalled;
use crate::collect;
use crate::history::tree::Tree;
use crate::plan::around::Around;
use crate::plan::{self, InScope, Plan};
use crate::recorder;
use crate::text;
use crate::trigger::Trigger;

/// Reading the history back, and looking around, may take so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// One process of the plan, with what is known of it without reading more.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    one: &'a InScope,
    name: String,
    executable: String,
    /// Bytes of memory that are resident: about what its core would take.
    resident: Option<u64>,
    /// Pipes and sockets that it has open.
    pipes_and_sockets: usize,
}

/// Plans as a collector would, and prints the plan.
pub(super) fn show(trigger: Trigger, context: &Context) -> Result<Exit, Error> {
    let config = &context.config;
    let host = recorder::Host::read(config).map_err(Error::failed)?;
    let reason = recorder::Reason { trigger, ..recorder::Reason::default() };
    let sight = recorder::Sight { probe: json!(null), counts: json!(null), gaps: Vec::new() };
    let job = host.job(config, reason, sight, Timestamp::now());
    let deadline = Instant::now() + PATIENCE;
    let Recalled { tree, targets, unread } = read_history(&job, deadline);
    let look = collect::look(&job.places.proc, job.facts.boot, &tree, deadline);
    let plan = plan::plan(&job, &tree, &targets, &look.around);
    let rows: Vec<Row<'_>> = plan.scope.iter().map(|one| row(one, &tree, &look.around)).collect();
    if context.json {
        let omit = &plan.limits.omit;
        context.print_json(&json!({ "profile": plan.profile, "targets": targets, "steps": plan.steps,
            "limits": plan.limits, "omit": omit, "scope": rows, "left_out": plan.left_out,
            "resident_of_cores": memory(&rows), "unread": unread }))?;
        return Ok(Exit::Done);
    }
    print(&job, &plan, &rows, context)
}

fn row<'a>(one: &'a InScope, tree: &Tree, around: &Around) -> Row<'a> {
    let standing = around.standings.get(&one.id);
    let image = tree.get(&one.id).and_then(|node| node.image());
    let name = standing.map(|standing| &standing.name).or_else(|| image.map(|image| &image.name));
    let executable =
        image.map(|image| &image.executable).or_else(|| standing.map(|standing| &standing.executable));
    let escaped = |bytes: Option<&text::Bytes>| bytes.map(|bytes| text::escape(bytes.as_slice()));
    Row {
        one,
        name: escaped(name).unwrap_or_default(),
        executable: escaped(executable).unwrap_or_default(),
        resident: standing.map(|standing| standing.resident),
        pipes_and_sockets: standing.map_or(0, |standing| standing.holds.len()),
    }
}

/// Bytes that are resident of those whose memory would be taken.
fn memory(rows: &[Row<'_>]) -> u64 {
    let cores = rows.iter().filter(|row| row.one.core).filter_map(|row| row.resident);
    cores.fold(0, u64::saturating_add)
}

fn print(job: &Job, plan: &Plan, rows: &[Row<'_>], context: &Context) -> Result<Exit, Error> {
    let mut out = context.out();
    writeln!(out, "{:>9}  {:<11} {:<22} {:>10}  why", "pid", "taken", "name", "resident")?;
    for Row { one, name, resident, .. } in rows {
        let taken =
            [(one.state, "state"), (one.exe, "exe"), (one.core, "core"), (one.stash && !one.living, "stash")];
        let taken: Vec<&str> = taken.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
        let size = resident.map_or_else(|| "exited".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
        let why = plan::words(one);
        writeln!(out, "{:>9}  {:<11} {name:<22} {size:>10}  {why}", one.id.pid, taken.join("+"))?;
    }
    if rows.is_empty() {
        writeln!(out, "no process")?;
    }
    if plan.left_out > 0 {
        writeln!(out, "{} more would be in scope and are too many", plan.left_out)?;
    }
    let steps = serde_json::to_value(&plan.steps).unwrap_or_default();
    let steps: Vec<&str> = steps.as_array().into_iter().flatten().filter_map(|step| step.as_str()).collect();
    writeln!(out, "in this order: {}", steps.join(", "))?;
    writeln!(
        out,
        "memory: {} MiB resident of {} processes, at most {} MiB are taken",
        memory(rows) >> 20,
        rows.iter().filter(|row| row.one.core).count(),
        job.limits.memory_bytes >> 20
    )?;
    if !plan.limits.omit.is_empty() {
        writeln!(out, "left out by policy: {}", json!(plan.limits.omit))?;
    }
    writeln!(out, "nothing was taken; without --dry-run it would be")?;
    out.flush()?;
    Ok(Exit::Done)
}
