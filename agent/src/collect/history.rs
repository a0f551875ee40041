//! The recorder's window, byte for byte, and the trigger that asked for it.

use std::fs::File;
use std::io::Read;

use jiff::SignedDuration;
use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::event::ProcessId;
use crate::history::segment::{self, Segment};
use crate::text::{self, Bytes};
use crate::trigger::Trigger;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    trigger(context, attempts)?;
    let Some(folder) = &context.job.places.history else {
        return attempts
            .miss("history", Miss::new(Outcome::Gone, "no recorder was running, so there is no history"));
    };
    let segments = match segment::list(folder) {
        Ok(segments) => segments,
        Err(error) => return attempts.miss("history", Miss::new(Outcome::Gone, error.to_string())),
    };
    let hours = i64::try_from(context.job.limits.history_hours).unwrap_or(i64::MAX);
    let window = SignedDuration::try_from_hours(hours).unwrap_or(SignedDuration::MAX);
    let since = context.job.accepted.saturating_sub(window).unwrap_or(jiff::Timestamp::MIN);
    let segments = segment::since(&segments, since);
    attempts.expect(segments.len());
    // Newest first: what a budget cuts off is the oldest.
    segments.iter().rev().try_for_each(|segment| copy(segment, attempts))
}

#[expect(clippy::disallowed_methods, reason = "it is the recorder's own")]
fn copy(segment: &Segment, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    use std::os::unix::ffi::OsStrExt;
    let file_name = segment.path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let name = Name::data(&[b"history".as_slice(), file_name]);
    attempts.take(text::escape(file_name), &name, |_| {
        let file = File::open(&segment.path).map_err(|error| Miss::at("open", &error))?;
        // The recorder goes on writing: the size now is the size taken.
        let size = file.metadata().map_err(|error| Miss::at("stat", &error))?.len();
        Ok(Found::stream(file.take(size), size))
    })?;
    Ok(())
}

#[derive(Serialize)]
struct Record<'a> {
    id: uuid::Uuid,
    accepted: jiff::Timestamp,
    trigger: &'a Trigger,
    raw: &'a Bytes,
    targets: &'a [ProcessId],
    plan: &'a crate::plan::Plan,
}

fn trigger(context: &Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let Context { job, targets, plan, .. } = context;
    let record =
        Record { id: job.id, accepted: job.accepted, trigger: &job.trigger, raw: &job.raw, targets, plan };
    attempts.take("trigger", &Name::data(&["trigger.json"]), |_| Found::json(&record))?;
    Ok(())
}

#[cfg(test)]
#[path = "history_test.rs"]
mod tests;
