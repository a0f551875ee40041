//! `data/log/journal.jsonl`: what systemd's journal says of the time around the trigger, from all its files, in the order of
//! time. The files themselves are taken beside it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::cut::Sign;
use super::{Window, list};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::collect::attempts::{Attempts, Found, Miss};
use crate::collect::file::{regular, reopen};
use crate::collect::packages::lines;
use crate::collect::walk::Walker;
use crate::log::journal::{Field, Head, Journal, Pages, Value};
use crate::text::{Bytes, escape, hex};

/// Where journald keeps its files.
const FOLDERS: [&[u8]; 2] = [b"/var/log/journal", b"/run/log/journal"];
/// Files whose pages may stay in memory side by side, 16 MiB of each.
const CACHED_MAX: usize = 8;
/// Files that are read, the newest first; entries that are looked at, and bytes of the table.
const FILES_MAX: usize = 256;
const ENTRIES_MAX: usize = 500_000;
const BYTES_MAX: usize = 48 << 20;
/// So many entries in a row before the window: no more of it will come in this file (a clock may have been set back).
const OLDER_MAX: usize = 1_000;
/// Missing numbers that are told one by one.
const GAPS_MAX: usize = 1_000;

/// One line.
#[derive(Serialize)]
struct Row<'a> {
    time: Option<Timestamp>,
    file: &'a Bytes,
    seqnum: u64,
    sequence: String,
    boot: String,
    monotonic_us: u64,
    fields: Map<String, Json>,
    /// Fields of which the beginning is shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut: Vec<String>,
    /// Fields that are packed as shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packed: Vec<&'static str>,
    /// Fields that could not be read.
    #[serde(skip_serializing_if = "is_zero")]
    broken: usize,
}

/// An entry of the window.
struct Mark {
    head: Head,
    file: usize,
    at: u64,
}

/// All files, and what was found in them.
#[derive(Default)]
struct Journals {
    files: Vec<(Bytes, Journal<'static>)>,
    marks: Vec<Mark>,
    /// Numbers that were seen, by sequence, and from which on all of them ought to have been.
    numbers: HashMap<[u8; 16], Numbers>,
    looked: usize,
    lacks: Vec<String>,
    /// Whether a bound ended it: then what was not seen may be there.
    over: bool,
}

#[derive(Default)]
struct Numbers {
    seen: Vec<(u64, u64)>,
    from: u64,
}

/// Takes the table; gaps in the numbers are signs that something is missing.
pub(super) fn run(
    walker: &mut Walker,
    window: Window,
    attempts: &mut Attempts<'_>,
) -> Result<Vec<Sign>, Error> {
    let mut all = Journals::default();
    let mut logs = Vec::new();
    let begun = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(u64::MAX);
    for folder in FOLDERS {
        list(folder, walker, &mut logs);
    }
    logs.retain(|log| log.path.ends_with(b".journal") || log.path.ends_with(b".journal~"));
    if logs.is_empty() {
        return Ok(Vec::new());
    }
    logs.sort_by_key(|log| std::cmp::Reverse(log.modified));
    if logs.len() > FILES_MAX {
        all.over = true;
        all.lacks.push(format!("{} older files were not read", logs.len() - FILES_MAX));
    }
    for log in logs.into_iter().take(FILES_MAX) {
        if let Err(why) = all.look(&log.path, walker, window, begun) {
            // What it held may be what would seem to be missing.
            all.over = true;
            all.lacks.push(format!("{}: {why}", escape(&log.path)));
        }
    }
    all.over |= walker.is_stopped();
    let signs = all.gaps();
    all.marks.sort_by_key(|mark| (mark.head.realtime, mark.head.seqnum));
    let files = all.files.len();
    attempts.take("window of the journal", &Name::data(&["log", "journal.jsonl"]), |room| {
        let most = usize::try_from(room.bytes).unwrap_or(usize::MAX).min(BYTES_MAX);
        let (bytes, count) = all.rows(most, walker.until)?;
        all.lacks.truncate(32);
        let lack = (!all.lacks.is_empty()).then(|| Miss::partial(all.lacks.join("; ")));
        Ok(Found::bytes(bytes).lacking(lack).noting(format!("{count} entries of {files} files")))
    })?;
    Ok(signs)
}

impl Journals {
    /// Reads the heads of a file's entries, from the end to the window's beginning.
    ///
    /// Numbers of what was written after `begun` (microseconds) are none: in another file, read before, they are not there
    /// yet.
    fn look(&mut self, path: &[u8], walker: &Walker, window: Window, begun: u64) -> Result<(), String> {
        if Instant::now() >= walker.until {
            return Err("there was no time to read it".to_owned());
        }
        let words = |miss: Miss| miss.detail;
        let entry = walker.find(path).map_err(words)?;
        let size = regular(&entry.fd, &walker.remote).map_err(words)?.size;
        let opened: File = reopen(&entry.fd).map_err(words)?;
        let pages = Pages::new(Box::new(move |room, at| opened.read_at(room, at)), size);
        let mut journal = Journal::open(pages).map_err(|error| error.to_string())?;
        let (entries, failure) = journal.entries();
        let numbers = self.numbers.entry(journal.header.sequence).or_default();
        let (file, mut older, mut broken, mut lowest) = (self.files.len(), 0, 0_u64, u64::MAX);
        for at in entries.into_iter().rev() {
            if older >= OLDER_MAX {
                numbers.from = numbers.from.max(lowest);
                break;
            }
            if self.looked >= ENTRIES_MAX || Instant::now() >= walker.until {
                if !std::mem::replace(&mut self.over, true) {
                    self.lacks
                        .push("older entries were not read: the bound of entries or time was reached".into());
                }
                break;
            }
            self.looked += 1;
            let Ok(head) = journal.head(at) else {
                broken += 1;
                continue;
            };
            if head.realtime <= begun {
                numbers.seen.push((head.seqnum, head.realtime));
            }
            lowest = lowest.min(head.seqnum);
            older = if head.realtime < window.since { older + 1 } else { 0 };
            if head.realtime >= window.since && head.realtime <= window.until {
                self.marks.push(Mark { head, file, at });
            }
        }
        journal.forget();
        self.files.push((Bytes::from(path), journal));
        match failure {
            Some(failure) => Err(failure.to_string()),
            None if broken > 0 => Err(format!("{broken} entries are broken")),
            None => Ok(()),
        }
    }

    /// Numbers that no file has, between such as are there.
    fn gaps(&mut self) -> Vec<Sign> {
        let mut signs = Vec::new();
        if self.over {
            return signs;
        }
        for (sequence, Numbers { seen, from }) in &mut self.numbers {
            seen.sort_unstable();
            seen.retain(|(number, _)| number >= from);
            for pair in seen.windows(2) {
                let [(before, since), (after, until)] = pair else { continue };
                let missing = after.saturating_sub(*before).saturating_sub(1);
                if missing == 0 || signs.len() >= GAPS_MAX {
                    continue;
                }
                let what = format!(
                    "{missing} entries of the journal are in no file: numbers {} to {} of sequence {}",
                    before.saturating_add(1),
                    after.saturating_sub(1),
                    hex(sequence)
                );
                signs.push(Sign::between(micros(*since), micros(*until), b"/var/log/journal", what));
            }
        }
        signs
    }

    /// The lines of the table, and how many: where the bytes do not suffice, the newest.
    fn rows(&mut self, most: usize, until: Instant) -> Result<(Vec<u8>, usize), Miss> {
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0_usize, 0);
        let many = self.files.len() > CACHED_MAX;
        for mark in self.marks.iter().rev() {
            let before = std::mem::replace(&mut last, mark.file);
            if many
                && before != mark.file
                && let Some((_, journal)) = self.files.get_mut(before)
            {
                journal.forget();
            }
            let Some((path, journal)) = self.files.get_mut(mark.file) else { continue };
            let (fields, broken) = journal.fields(mark.at, &mark.head);
            let line =
                lines(std::iter::once(row(path, &journal.header.sequence, &mark.head, fields, broken)))?;
            if bytes.saturating_add(line.len()) > most || Instant::now() >= until {
                let left = self.marks.len().saturating_sub(rows.len());
                self.lacks.push(format!("the {left} oldest entries were too much for the bytes or the time"));
                break;
            }
            bytes = bytes.saturating_add(line.len());
            rows.push(line);
        }
        rows.reverse();
        Ok((rows.concat(), rows.len()))
    }
}

fn row<'a>(file: &'a Bytes, sequence: &[u8], head: &Head, all: Vec<Field>, broken: usize) -> Row<'a> {
    let mut row = Row {
        time: micros(head.realtime),
        file,
        seqnum: head.seqnum,
        sequence: hex(sequence),
        boot: hex(&head.boot),
        monotonic_us: head.monotonic,
        fields: Map::new(),
        cut: Vec::new(),
        packed: Vec::new(),
        broken,
    };
    for Field { name, value } in all {
        let name = name.to_string();
        let value = match value {
            Value::Whole(value) => value,
            Value::Cut(value) => {
                row.cut.push(name.clone());
                value
            }
            Value::Packed(by) => {
                row.packed.push(by);
                continue;
            }
        };
        let value = Json::String(value.to_string());
        match row.fields.get_mut(&name) {
            None => drop(row.fields.insert(name, value)),
            Some(Json::Array(values)) => values.push(value),
            Some(one) => *one = Json::Array(vec![one.take(), value]),
        }
    }
    row
}

/// A time of the journal's.
fn micros(time: u64) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(time).ok()?).ok()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
