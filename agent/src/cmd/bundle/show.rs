//! `afterimage bundle show`: one page for somebody who has been woken up.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::json;

use super::super::{Context, Error, Exit};
use super::tree::{self, Process};
use super::{Contents, Opened, Which, size, timeline};
use crate::bundle::verify::Signature;
use crate::bundle::{Attempt, Capture, Outcome};
use crate::event::{Action, Event};
use crate::report::line;
use crate::text;
use crate::trigger::Trigger;

/// Attempts that are not `ok` are named up to this number for each outcome.
const NAMED_MAX: usize = 12;

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Name every artifact, and every attempt that did not succeed.
    #[arg(long)]
    artifacts: bool,
}

pub(super) fn run(args: &ShowArgs, context: &Context) -> Result<Exit, Error> {
    let signers = args.which.signers(context)?;
    let bundle = args.which.open(context)?;
    let contents = bundle.contents(&signers)?;
    let exit = if contents.account.is_some() { Exit::Done } else { Exit::Torn };
    if context.json {
        context.print_json(&json(&contents))?;
        return Ok(exit);
    }
    let mut out = context.out();
    let Some((capture, signature)) = &contents.account else {
        for (name, place) in &contents.artifacts {
            writeln!(out, "{}  {:>10}  {name}", place.sha256, size(place.size))?;
        }
        out.flush()?;
        return Ok(exit);
    };
    page(&bundle, &contents, (capture, signature), args.artifacts, &mut out)?;
    out.flush()?;
    Ok(exit)
}

/// The bundle's account and its signer; of a torn one also why, and what is wholly there.
pub(super) fn json(contents: &Contents) -> serde_json::Value {
    match (&contents.account, &contents.torn) {
        (Some((capture, signature)), _) => json!({ "capture": capture, "signature": signature }),
        (None, Some(report)) => json!({
            "capture": report.capture, "signature": report.signature,
            "torn": report.why, "intact": report.intact,
        }),
        (None, None) => json!({ "capture": null, "signature": null }),
    }
}

pub(super) fn page(
    bundle: &Opened,
    contents: &Contents,
    (capture, signature): (&Capture, &Signature),
    all: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    head(bundle, capture, signature, out)?;
    trigger(&capture.trigger, out)?;
    processes(bundle, contents, capture, out)?;
    attempts(capture, all, out)?;
    losses(bundle, contents, capture, all, out)?;
    changes(capture, out)?;
    if all {
        artifacts(capture, out)?;
    }
    Ok(())
}

fn head(bundle: &Opened, capture: &Capture, signature: &Signature, out: &mut dyn Write) -> io::Result<()> {
    let facts = &capture.facts;
    writeln!(out, "Capture   {}", capture.id)?;
    if bundle.name != capture.id.to_string() {
        writeln!(out, "File      {}", bundle.name)?;
    }
    writeln!(
        out,
        "Host      {}  kernel {}  machine {}  afterimage {}",
        clean(&facts.hostname),
        clean(&facts.kernel),
        clean(&facts.machine_id),
        clean(&facts.version)
    )?;
    let took = capture.sealed.duration_since(capture.accepted);
    writeln!(out, "Accepted  {}, sealed {} s later", line::time(capture.accepted), took.as_secs())?;
    match &capture.incomplete {
        None => writeln!(out, "Complete  yes: the collector reached the end of its plan")?,
        Some(why) => writeln!(out, "Complete  NO: {}", clean(why))?,
    }
    let signed = match &signature.trusted_by {
        Some(origin) => format!("as {}, trusted by {}", clean(&signature.principal), clean(origin)),
        None => format!("by {}, which is NOT TRUSTED", signature.fingerprint),
    };
    writeln!(out, "Signed    {signed}")?;
    writeln!(
        out,
        "          (this page reads the signed manifest; `bundle verify` reads and compares every byte)"
    )?;
    let bytes = capture.artifacts.iter().fold(0_u64, |sum, artifact| sum.saturating_add(artifact.size));
    writeln!(out, "Holds     {} artifacts, {}", capture.artifacts.len(), size(bytes))
}

fn trigger(trigger: &Trigger, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nTrigger   {}: {}", clean(&trigger.sender), clean(&trigger.rule))?;
    if let Some(severity) = &trigger.severity_raw {
        writeln!(out, "          severity {}", clean(severity))?;
    }
    if let Some(time) = trigger.time {
        writeln!(out, "          happened {}", line::time(time))?;
    }
    if !trigger.authenticated.is_empty() {
        writeln!(out, "          authenticated by {}", clean(&trigger.authenticated))?;
    }
    // Only what the sender said of the process.
    if let Ok(serde_json::Value::Object(target)) = serde_json::to_value(&trigger.target) {
        for (field, value) in target {
            if !value.is_null() && value != serde_json::Value::Bool(false) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                writeln!(out, "          {field} {}", clean(&value))?;
            }
        }
    }
    Ok(())
}

fn processes(
    bundle: &Opened,
    contents: &Contents,
    capture: &Capture,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let processes = tree::read(bundle, contents)?.unwrap_or_default();
    let living = processes.iter().filter(|process| process.living).count();
    writeln!(out, "\nProcesses {} known, {living} living", processes.len())?;
    let mut meant: Vec<&Process> = processes.iter().filter(|process| process.target).collect();
    meant.sort_by_key(|process| process.node.seen);
    for process in &meant {
        let what = process.node.image().map_or_else(
            || "(never seen to run a program)".to_owned(),
            |image| format!("{}  [{}]", image.executable, line::command(&image.args)),
        );
        let end = process.node.exited.as_ref().map_or_else(
            || "living".to_owned(),
            |(time, exit)| {
                format!("gone since {}, {}", line::time(*time), line::ending(exit.code, exit.signal))
            },
        );
        writeln!(out, "  target  {}  {what}  {end}", process.node.id.pid)?;
    }
    if meant.is_empty() {
        for target in &capture.targets {
            writeln!(out, "  target  {}", target.pid)?;
        }
        if capture.targets.is_empty() && !capture.trigger.target.whole_host {
            writeln!(out, "  no process was found that the trigger means")?;
        }
    }
    Ok(())
}

fn attempts(capture: &Capture, all: bool, out: &mut dyn Write) -> io::Result<()> {
    let total = capture.outcomes.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let counts: Vec<String> =
        capture.outcomes.iter().map(|(outcome, count)| format!("{} {count}", word(*outcome))).collect();
    writeln!(out, "\nAttempts  {total}: {}", counts.join(", "))?;
    if capture.attempts_dropped > 0 {
        writeln!(out, "          {} more are not listed", capture.attempts_dropped)?;
    }
    // Many attempts fail for one reason: the reason is read once.
    let mut missing: BTreeMap<(Outcome, &str, &str), Vec<&Attempt>> = BTreeMap::new();
    for attempt in capture.attempts.iter().filter(|attempt| attempt.outcome != Outcome::Ok) {
        let why = attempt.detail.as_deref().unwrap_or("no reason given");
        missing.entry((attempt.outcome, &attempt.collection, why)).or_default().push(attempt);
    }
    for ((outcome, collection, why), attempts) in missing {
        let named = if all { attempts.len() } else { NAMED_MAX };
        let subjects: Vec<String> =
            attempts.iter().take(named).map(|attempt| clean(&attempt.subject)).collect();
        let more = attempts.len().saturating_sub(named);
        let more = if more > 0 { format!(" and {more} more (--artifacts names all)") } else { String::new() };
        writeln!(
            out,
            "  {:<17} {:>4}  {}: {}",
            word(outcome),
            attempts.len(),
            clean(collection),
            clean(why)
        )?;
        writeln!(out, "  {:<17} {:>4}  {}{more}", "", "", subjects.join(", "))?;
    }
    Ok(())
}

fn losses(
    bundle: &Opened,
    contents: &Contents,
    capture: &Capture,
    all: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let (mut events, mut lost, mut missed) = (0_u64, 0_u64, 0_u64);
    let mut span: Option<(Timestamp, Timestamp)> = None;
    let mut said = Vec::new();
    timeline::events(bundle, contents, &mut |event: Event| {
        events = events.saturating_add(1);
        let (from, to) = span.unwrap_or((event.time, event.time));
        span = Some((from.min(event.time), to.max(event.time)));
        match &event.action {
            Action::Loss(record) if record.place == "stash" => missed = missed.saturating_add(record.count),
            Action::Loss(record) => lost = lost.saturating_add(record.count),
            Action::Gap(_) => {}
            _ => return,
        }
        if all || said.len() < NAMED_MAX {
            said.push(line::event(&event));
        }
    })?;
    let Some((from, to)) = span else {
        writeln!(out, "\nHistory   none")?;
        return Ok(());
    };
    writeln!(out, "\nHistory   {events} events, {} to {}", line::time(from), line::time(to))?;
    let counts = &capture.facts.counts;
    let count = |pointer: &str| counts.pointer(pointer).map_or_else(|| "?".to_owned(), ToString::to_string);
    writeln!(
        out,
        "  {lost} events lost; since the recorder started: {} attempted in the kernel, {} lost there, {} at the disk",
        count("/kernel/attempted"),
        count("/kernel/lost"),
        count("/recorder/history_lost")
    )?;
    writeln!(
        out,
        "  {missed} executables could not be kept (their processes are in the history all the same)"
    )?;
    for said in said {
        writeln!(out, "  {said}")?;
    }
    if all {
        let mut lines = Vec::new();
        flatten("", counts, &mut lines);
        for (name, value) in lines {
            writeln!(out, "  {}: {}", clean(&name), clean(&value))?;
        }
    }
    Ok(())
}

fn changes(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    for (number, change) in capture.facts.changes.iter().enumerate() {
        let title = if number == 0 { "\nChanged on the host by this capture:\n" } else { "" };
        writeln!(out, "{title}  {}", clean(change))?;
    }
    Ok(())
}

fn artifacts(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nArtifacts")?;
    for artifact in &capture.artifacts {
        let short = artifact.size.saturating_sub(artifact.read);
        let cut = if short > 0 { format!("  ({} could not be read)", size(short)) } else { String::new() };
        writeln!(
            out,
            "  {}  {:>10}  {}{cut}",
            artifact.sha256,
            size(artifact.size),
            clean(artifact.name.as_str())
        )?;
    }
    Ok(())
}

/// `a.b: value` for every plain value, in order; bounded, because the manifest of a stranger may be anything.
fn flatten(prefix: &str, value: &serde_json::Value, lines: &mut Vec<(String, String)>) {
    if lines.len() >= 64 || prefix.len() > 256 {
        return;
    }
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, lines);
            }
        }
        serde_json::Value::Null => {}
        serde_json::Value::String(text) => lines.push((prefix.to_owned(), text.clone())),
        other => lines.push((prefix.to_owned(), other.to_string())),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Partial => "partial",
        Outcome::Refused => "refused",
        Outcome::Gone => "gone",
        Outcome::TimedOut => "timed out",
        Outcome::IdentityChanged => "identity changed",
        Outcome::OverBudget => "over budget",
    }
}

/// Text that is escaped already keeps its backslashes; what could steer the terminal all the same does not stay.
fn clean(text: &str) -> String {
    text::escape(text.as_bytes()).replace("\\\\", "\\")
}
