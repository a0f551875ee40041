//! Logs: what they say, in tables; and the journal's files as they are, text logs, logins, shell histories, containers' output. Of
//! what is too large the end is taken, as that is the newest.

mod cut;
mod journal;
mod logins;
mod peers;

use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Context;
use super::attempts::{Attempts, Found, Miss, Room};
use super::file::{regular, reopen};
use super::passwd::homes;
use super::walk::Walker;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::text;

/// Directories of logs; the journal's are below the first two.
const FOLDERS: &[&[u8]] = &[b"/var/log", b"/run/log"];

/// Logins of this boot, where a distribution still has them.
const FILES: &[&[u8]] = &[b"/run/utmp", b"/var/run/utmp"];

/// What shells and their kind write down in a home.
const HISTORIES: &[&[u8]] = &[
    b".bash_history",
    b".zsh_history",
    b".sh_history",
    b".ash_history",
    b".ksh_history",
    b".history",
    b".local/share/fish/fish_history",
    b".python_history",
    b".node_repl_history",
    b".mysql_history",
    b".psql_history",
    b".rediscli_history",
    b".lesshst",
    b".viminfo",
    b".wget-hsts",
];

/// Where container runtimes keep what containers print.
const CONTAINERS: &[&[u8]] =
    &[b"/var/lib/docker/containers", b"/var/lib/containers/storage/overlay-containers"];

/// Files looked at, and how deep.
const ENTRIES_MAX: usize = 200_000;
const DEPTH: usize = 8;

/// Files and bytes taken.
const FILES_MAX: usize = 5_000;
const BYTES_MAX: u64 = 2 << 30;

/// One log: newest first is the order in which they are taken.
struct Log {
    path: Vec<u8>,
    modified: Option<(i64, u32)>,
}

/// The time that the tables tell of, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: u64,
    until: u64,
}

impl Window {
    /// As far back before the trigger (or what it tells of) as the history goes, and until now.
    fn of(context: &Context<'_>) -> Self {
        let job = context.job;
        let hours = i64::try_from(job.limits.history_hours).unwrap_or(i64::MAX);
        let back = SignedDuration::try_from_hours(hours).unwrap_or(SignedDuration::MAX);
        let start = job.trigger.time.map_or(job.accepted, |time| time.min(job.accepted));
        let since = start.saturating_sub(back).unwrap_or(Timestamp::MIN);
        Self { since: u64::try_from(since.as_microsecond()).unwrap_or_default(), until: u64::MAX }
    }

    fn from(self) -> Timestamp {
        i64::try_from(self.since)
            .ok()
            .and_then(|since| Timestamp::from_microsecond(since).ok())
            .unwrap_or(Timestamp::MIN)
    }
}

/// The tables, of what is told in logs and about them.
pub(super) fn tables(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    let until = Instant::now() + (left / 6).min(Duration::from_mins(1));
    let places = &context.job.places;
    let window = Window::of(context);
    // What one of them does not use, the next may.
    let part = |parts: u32| Instant::now() + until.saturating_duration_since(Instant::now()) / parts;
    let walker = |until| Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let mut signs = logins::run(&walker(part(4)), attempts)?;
    signs.extend(journal::run(&mut walker(part(2)), window, attempts)?);
    cut::run(signs, places.history.as_deref(), window, part(2), attempts)?;
    peers::run(context, &mut walker(part(1)), attempts)
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    let until = Instant::now() + left.min(Duration::from_mins(5));
    let places = &context.job.places;
    let mut walker = Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let homes = homes(&walker).into_iter().map(|user| user.home);
    let histories = std::iter::once(b"/root".to_vec())
        .chain(homes)
        .flat_map(|home| HISTORIES.iter().map(move |name| [home.as_slice(), b"/", name].concat()));
    // Histories and logins are small, and say most.
    let mut paths: Vec<Vec<u8>> = histories.chain(FILES.iter().map(|path| path.to_vec())).collect();
    paths.sort_unstable();
    paths.dedup();
    // What nobody wrote is no attempt.
    paths.retain(|path| !matches!(walker.find(path), Err(miss) if miss.outcome == Outcome::Gone));
    let mut logs = Vec::new();
    for folder in FOLDERS {
        list(folder, &mut walker, &mut logs);
    }
    let mut printed = Vec::new();
    for folder in CONTAINERS {
        list(folder, &mut walker, &mut printed);
    }
    logs.extend(printed.into_iter().filter(|log| is_container_log(&log.path)));
    logs.sort_by(|one, two| two.modified.cmp(&one.modified).then_with(|| one.path.cmp(&two.path)));
    paths.extend(logs.into_iter().map(|log| log.path));
    attempts.expect(paths.len());
    let mut left = BYTES_MAX;
    let mut paths = paths.into_iter();
    for path in paths.by_ref().take(FILES_MAX) {
        if left == 0 || attempts.room().bytes == 0 {
            rest(&path, paths.by_ref().count(), attempts)?;
            break;
        }
        take(&path, &mut left, &walker, attempts)?;
    }
    if let Some(path) = paths.next() {
        rest(&path, paths.count(), attempts)?;
    }
    match walker.miss() {
        Some(miss) => attempts.miss("log directories", miss),
        None => Ok(()),
    }
}

/// Whether a path is one of those that are taken here.
pub(super) fn is_log(path: &[u8]) -> bool {
    let below = |folder: &&[u8]| path.strip_prefix(*folder).is_some_and(|rest| rest.starts_with(b"/"));
    let is_history = |name: &&[u8]| path.strip_suffix(*name).is_some_and(|home| home.ends_with(b"/"));
    let is_printed = CONTAINERS.iter().any(below) && is_container_log(path);
    FOLDERS.iter().any(below) || FILES.contains(&path) || HISTORIES.iter().any(is_history) || is_printed
}

/// What a container printed, as docker (two drivers) and podman keep it.
fn is_container_log(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let is_json = name.windows(9).any(|part| part == b"-json.log");
    is_json || name == b"ctr.log" || name.starts_with(b"container.log")
}

/// What there was no room for: one outcome for all of it.
fn rest(first: &[u8], more: usize, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let subject = match more {
        0 => text::escape(first),
        more => format!("{} older logs, the newest of them {}", more + 1, text::escape(first)),
    };
    attempts.miss(subject, Miss::new(Outcome::OverBudget, "enough logs were taken"))
}

fn list(folder: &[u8], walker: &mut Walker, logs: &mut Vec<Log>) {
    let Ok(folder) = walker.find(folder) else { return };
    walker.walk(&folder, DEPTH, &mut |entry| {
        if entry.attributes.is_file() {
            logs.push(Log { path: entry.path.clone(), modified: entry.attributes.times[1] });
        }
        true
    });
}

fn take(path: &[u8], left: &mut u64, walker: &Walker, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let mut taken = 0;
    attempts.take(text::escape(path), &Name::file(&["log"], path), |mut room| {
        let entry = walker.find(path)?;
        let size = regular(&entry.fd, &walker.remote)?.size;
        room.file = room.file.min(*left);
        taken = size.min(room.file);
        tail(reopen(&entry.fd)?, size, room)
    })?;
    *left = left.saturating_sub(taken);
    Ok(())
}

/// The end of a file, as far as the budget of one file goes. It may go on growing: the size is the one it had.
fn tail(mut file: std::fs::File, size: u64, room: Room) -> Result<Found<'static>, Miss> {
    let limit = room.file.min(room.bytes);
    if size > 0 && limit == 0 {
        return Err(Miss::new(Outcome::OverBudget, format!("{size} bytes")));
    }
    if size <= limit {
        return Ok(Found::stream(file.take(size), size));
    }
    file.seek(SeekFrom::Start(size - limit)).map_err(|error| Miss::at("seek", &error))?;
    let lack = Miss::partial(format!("the last {limit} of {size} bytes"));
    Ok(Found::stream(file.take(limit), limit).lacking(Some(lack)))
}

#[cfg(test)]
#[path = "log_test.rs"]
mod tests;
