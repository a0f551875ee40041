//! Logs: the journal's files as they are, text logs, logins, shell histories. Of what is too large the end is taken,
//! as that is the newest.

use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use super::Context;
use super::attempts::{Attempts, Found, Miss, Room};
use super::file::{regular, reopen};
use super::hidden::homes;
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
    logs.sort_by(|one, two| two.modified.cmp(&one.modified).then_with(|| one.path.cmp(&two.path)));
    paths.extend(logs.into_iter().map(|log| log.path));
    attempts.expect(paths.len());
    let mut left = BYTES_MAX;
    for (count, path) in paths.iter().enumerate() {
        take(path, count >= FILES_MAX, &mut left, &walker, attempts)?;
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
    FOLDERS.iter().any(below) || FILES.contains(&path) || HISTORIES.iter().any(is_history)
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

fn take(
    path: &[u8],
    over: bool,
    left: &mut u64,
    walker: &Walker,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let mut taken = 0;
    attempts.take(text::escape(path), &Name::file(&["log"], path), |mut room| {
        if over || *left == 0 {
            return Err(Miss::new(Outcome::OverBudget, "enough logs were taken"));
        }
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
