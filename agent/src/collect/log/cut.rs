//! `data/log/removed.jsonl`: what was taken out of logs, as far as it can be seen: from the recorder's history (who made a log
//! shorter, deleted it or gave it another name), and from the logs themselves.

use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::Window;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::collect::attempts::{Attempts, Found, Miss};
use crate::collect::packages::lines;
use crate::event::touch::{Deed, Place, Touch};
use crate::event::{Action, Event, ProcessId};
use crate::history::query::Library;
use crate::text::Bytes;

/// Lines of the table.
const SIGNS_MAX: usize = 20_000;

/// One sign that something is missing.
#[derive(Debug, Serialize)]
pub(super) struct Sign {
    /// When it was done; or from when on.
    time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    path: Bytes,
    what: String,
    /// `history` or `log`.
    seen_in: &'static str,
    /// By whom, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_after: Option<u64>,
    /// How many processes wrote to it in that moment, each of which has a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    writers: Option<u64>,
}

impl Sign {
    /// A sign in a log, between two times.
    pub(super) fn between(
        time: Option<Timestamp>,
        until: Option<Timestamp>,
        path: &[u8],
        what: String,
    ) -> Self {
        let path = Bytes::from(path);
        Self {
            time,
            until,
            path,
            what,
            seen_in: "log",
            process: None,
            bytes_before: None,
            bytes_after: None,
            writers: None,
        }
    }

    /// A deed that the history tells.
    fn told(event: &Event, touch: &Touch) -> Option<Self> {
        let what = match touch.deed {
            Deed::Truncated => "made shorter",
            Deed::Deleted => "deleted",
            Deed::RenamedOut => "renamed to another name",
            Deed::RenamedIn => "replaced by another file",
            _ => return None,
        };
        (touch.place == Place::Log).then(|| Self {
            seen_in: "history",
            process: (!touch.unknown).then_some(event.process),
            bytes_before: touch.before,
            bytes_after: touch.after,
            writers: touch.writers,
            ..Self::between(Some(event.time), None, touch.path.as_slice(), what.to_owned())
        })
    }
}

/// Takes the table, with `signs` from the logs.
pub(super) fn run(
    mut signs: Vec<Sign>,
    history: Option<&Path>,
    window: Window,
    until: Instant,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let mut lacks = Vec::new();
    match history.map(|folder| Library::open(folder, window.from())) {
        Some(Ok(library)) => read(&library, window, until, &mut signs, &mut lacks),
        Some(Err(error)) => lacks.push(error.to_string()),
        None => lacks.push("no recorder was running: only what the logs themselves show".to_owned()),
    }
    if signs.len() > SIGNS_MAX {
        lacks.push(format!("{} more were too many", signs.len() - SIGNS_MAX));
        signs.truncate(SIGNS_MAX);
    }
    signs.sort_by_key(|sign| sign.time);
    attempts.take("what was removed from logs", &Name::data(&["log", "removed.jsonl"]), |_| {
        let lack = (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")));
        Ok(Found::bytes(lines(signs.iter())?).lacking(lack).noting(format!("{} signs", signs.len())))
    })?;
    Ok(())
}

/// The newest first.
fn read(library: &Library, window: Window, until: Instant, signs: &mut Vec<Sign>, lacks: &mut Vec<String>) {
    lacks.extend(library.unreadable.iter().take(16).cloned());
    let since = window.from();
    let places = library.between(since, Timestamp::MAX);
    for (count, place) in places.iter().rev().enumerate() {
        if Instant::now() >= until || signs.len() > SIGNS_MAX {
            let left = places.len().saturating_sub(count);
            return lacks.push(format!("{left} older frames of the history were not read"));
        }
        let wanted = |line: &crate::history::index::Line<'_>| line.time >= since && &*line.action == "touch";
        let read = library.read(*place, &wanted, &mut |event| {
            if let Action::Touch(touch) = &event.action {
                signs.extend(Sign::told(&event, touch));
            }
        });
        lacks.extend(read.err().map(|error| error.to_string()));
    }
}
