//! One walk over the host's files, before any of them is read: the body file, a line for each of them, and the recent
//! changes, ranked.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use nix::fcntl::readlinkat;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::hidden::DPKG;
use super::names::split;
use super::open::ANY_DEPTH;
use super::passwd;
use super::walk::{Entry, Walker};
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::history::policy::Accounts;
use crate::plan::Why;
use crate::trigger::Profile;

mod body;
mod changes;
mod deeds;
mod rank;

use body::Body;
use changes::Changes;
use deeds::Deeds;
use rank::Scene;

/// What comes first, should the time not suffice for all.
const FIRST: &[&[u8]] = &[
    b"/tmp",
    b"/var/tmp",
    b"/dev/shm",
    b"/etc",
    b"/root",
    b"/home",
    b"/run",
    b"/srv",
    b"/opt",
    b"/var/www",
    b"/var/spool",
    b"/usr/local",
    b"/usr/bin",
    b"/usr/sbin",
    b"/usr/lib/systemd",
    b"/",
];

/// Parts of the time that is left, and the most: of `triage`, and of `full`.
const TRIAGE: (u32, Duration) = (6, Duration::from_secs(20));
const FULL: (u32, Duration) = (4, Duration::from_mins(5));
/// Of that, for the history.
const HISTORY: u32 = 4;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    let (part, most) = if context.plan.profile == Profile::Full { FULL } else { TRIAGE };
    let time = (left / part).min(most);
    let places = &context.job.places;
    let entries = usize::try_from(context.plan.limits.body_entries).unwrap_or(usize::MAX);
    let mut walker = Walker::new(&places.root, &places.proc, entries, Instant::now() + time);
    let top = match walker.find(b"/") {
        Ok(top) => top,
        Err(miss) => return attempts.miss("body file", miss),
    };
    let mut changes = changes(context, &walker, time / HISTORY);
    let mut body = Body::new();
    add(&top, &mut body, &mut changes);
    walk(&mut walker, &mut body, &mut changes);
    changes.rest(&|path| walker.find(path).ok().map(|entry| entry.attributes));
    let mut lacks = walker.lacks;
    attempts.take("recent changes", &Name::data(&["changes.jsonl"]), |_| {
        let (lines, more) = changes.lines()?;
        Ok(Found::bytes(lines).lacking(lacking(&[lacks.as_slice(), &more].concat())))
    })?;
    if body.left_out > 0 {
        lacks.push(format!("{} lines were too many", body.left_out));
    }
    attempts.take("body file", &Name::data(&["bodyfile", "bodyfile.txt"]), |_| {
        let (bytes, lines) = (body.bytes, body.lines);
        let lines = format!("{lines} lines");
        let source = body.read().map_err(|error| Miss::at("compress", &error))?;
        Ok(Found::stream(source, bytes).lacking(lacking(&lacks)).noting(lines))
    })?;
    Ok(())
}

fn lacking(lacks: &[String]) -> Option<Miss> {
    (!lacks.is_empty()).then(|| Miss::new(Outcome::Partial, lacks.join("; ")))
}

/// What the history tells, and what the files are measured by.
fn changes(context: &Context<'_>, walker: &Walker, time: Duration) -> Changes {
    let job = context.job;
    let hours = i64::try_from(job.limits.history_hours).unwrap_or(i64::MAX);
    let window = SignedDuration::try_from_hours(hours).unwrap_or(SignedDuration::MAX);
    let since = job.accepted.saturating_sub(window).unwrap_or(jiff::Timestamp::MIN);
    let family = context.plan.scope.iter().filter(|one| one.why <= Why::Descendant).map(|one| one.id);
    let family: HashSet<_> = family.collect();
    let mut deeds = Deeds::new(family.clone());
    for image in family.iter().filter_map(|id| context.tree.get(id)).flat_map(|node| &node.images) {
        let (folder, _) = split(image.1.executable.as_slice());
        // Beside what packages brought lies what packages brought.
        if ![&b"/usr"[..], b"/bin", b"/sbin", b"/lib"].iter().any(|system| folder.starts_with(system)) {
            deeds.near(folder);
        }
    }
    if let Some(folder) = &job.places.history {
        deeds.read(folder, since, Instant::now() + time);
    }
    let packaged = walker.find(DPKG).ok().and_then(|status| status.attributes.changed());
    let scene = Scene { trigger: job.accepted.as_second(), packaged };
    let own = job.places.history.as_deref().and_then(std::path::Path::parent);
    let own = own.map(|folder| [folder.as_os_str().as_bytes(), b"/"].concat()).unwrap_or_default();
    Changes::new(deeds, scene, Accounts::parse(&passwd::text(walker)), since.as_second(), own)
}

fn walk(walker: &mut Walker, body: &mut Body, changes: &mut Changes) {
    let mut done: Vec<&[u8]> = Vec::new();
    for path in FIRST {
        if let Ok(from) = walker.find(path) {
            walker.walk_at_first(&from, ANY_DEPTH, &|_, _| true, &mut |entry| {
                add(entry, body, changes);
                !done.contains(&entry.path.as_slice())
            });
        }
        done.push(path);
    }
    for later in walker.take_later() {
        walker.walk_later(later, &|_, _| true, &mut |entry| {
            add(entry, body, changes);
            true
        });
    }
}

fn add(entry: &Entry, body: &mut Body, changes: &mut Changes) {
    let target = entry.attributes.is_link().then(|| readlinkat(&entry.fd, c"").unwrap_or_default());
    body.add(&entry.path, target.as_deref().map(OsStrExt::as_bytes), &entry.attributes);
    if !entry.path.is_empty() {
        changes.see(&entry.path, &entry.attributes);
    }
}

#[cfg(test)]
#[path = "timeline_test.rs"]
mod tests;
