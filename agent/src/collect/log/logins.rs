//! `data/logins.jsonl`: who came, from where, when, until when, and who tried to; from utmp, wtmp, btmp and lastlog.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use serde::Serialize;

use super::cut::Sign;
use crate::accounts;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::collect::attempts::{Attempts, Found, Miss};
use crate::collect::file::{regular, reopen};
use crate::collect::packages::lines;
use crate::collect::passwd;
use crate::collect::sparse::extents;
use crate::collect::walk::Walker;
use crate::log::utmp::{Ended, LAST, RECORD, Stay, What, last, records, stays};
use crate::text::{Bytes, escape};

/// Files of records, and what they tell.
const FILES: &[(&[u8], &str)] = &[
    (b"/run/utmp", "utmp"),
    (b"/var/run/utmp", "utmp"),
    (b"/var/log/wtmp", "wtmp"),
    (b"/var/log/wtmp.1", "wtmp"),
    (b"/var/log/btmp", "btmp"),
    (b"/var/log/btmp.1", "btmp"),
];
const LASTLOG: &[u8] = b"/var/log/lastlog";
/// Bytes of one file that are read: its end. btmp grows by every attempt of every scanner.
const BYTES_MAX: u64 = 32 << 20;
/// Records of lastlog that are looked at.
const LAST_MAX: usize = 100_000;
/// Lines of the table.
const ROWS_MAX: usize = 200_000;
/// Signs of one file.
const SIGNS_MAX: usize = 1_000;

/// One line.
#[derive(Serialize)]
struct Row {
    time: Option<Timestamp>,
    what: String,
    user: Bytes,
    line: Bytes,
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    host: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<&'static str>,
    file: Bytes,
}

/// Takes the table; records that were wiped or moved are signs that something is missing.
pub(super) fn run(walker: &Walker, attempts: &mut Attempts<'_>) -> Result<Vec<Sign>, Error> {
    let (mut rows, mut signs, mut lacks, mut any) = (Vec::new(), Vec::new(), Vec::new(), false);
    for (path, kind) in FILES {
        match tail(path, walker) {
            Ok((bytes, whole)) => {
                any = true;
                if !whole {
                    lacks.push(format!("{}: the last {} bytes", escape(path), bytes.len()));
                }
                records_of(path, kind, &bytes, &mut rows, &mut signs);
            }
            Err(miss) if miss.outcome == crate::bundle::Outcome::Gone => {}
            Err(miss) => lacks.push(format!("{}: {}", escape(path), miss.detail)),
        }
    }
    match lastlog(walker, &mut rows) {
        Ok(()) => any = true,
        Err(miss) if miss.outcome == crate::bundle::Outcome::Gone => {}
        Err(miss) => lacks.push(format!("{}: {}", escape(LASTLOG), miss.detail)),
    }
    if !any && lacks.is_empty() {
        return Ok(signs);
    }
    rows.sort_by_key(|row: &Row| row.time);
    if rows.len() > ROWS_MAX {
        let left = rows.len() - ROWS_MAX;
        lacks.push(format!("the {left} oldest lines were too many"));
        rows.drain(..left);
    }
    attempts.take("table of logins", &Name::data(&["logins.jsonl"]), |_| {
        let lack = (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")));
        Ok(Found::bytes(lines(rows.iter())?).lacking(lack).noting(format!("{} lines", rows.len())))
    })?;
    Ok(signs)
}

/// The end of a file, from the beginning of a record on, and whether that is all of it.
fn tail(path: &[u8], walker: &Walker) -> Result<(Vec<u8>, bool), Miss> {
    let entry = walker.find(path)?;
    let size = regular(&entry.fd, &walker.remote)?.size;
    let record = u64::try_from(RECORD).unwrap_or(1);
    let over = size.saturating_sub(BYTES_MAX).next_multiple_of(record);
    let file = reopen(&entry.fd)?;
    let mut bytes = Vec::new();
    if over > 0 {
        std::io::Seek::seek(&mut &file, std::io::SeekFrom::Start(over))
            .map_err(|error| Miss::at("seek", &error))?;
    }
    file.take(size.saturating_sub(over)).read_to_end(&mut bytes).map_err(|error| Miss::at("read", &error))?;
    Ok((bytes, over == 0))
}

fn records_of(path: &[u8], kind: &str, bytes: &[u8], rows: &mut Vec<Row>, signs: &mut Vec<Sign>) {
    let mut found = Vec::new();
    let mut before = None;
    let all = stays(records(bytes));
    for stay in &all {
        let time = micros(stay.record.time);
        // A login manager leaves places of nobody in utmp, which is no log.
        if stay.record.what == What::Blank && kind != "utmp" {
            let what = format!("record {} is wiped: nothing but zeros", stay.number);
            found.push(Sign::between(before, next(&all, stay.number), path, what));
        } else if stay.earlier && kind != "utmp" {
            let what =
                format!("record {} is earlier than one before it, and the clock was not set", stay.number);
            found.push(Sign::between(time, before, path, what));
        }
        if stay.record.what != What::Blank {
            before = time;
            rows.push(row(path, kind, stay));
        }
    }
    if !bytes.len().is_multiple_of(RECORD) {
        let what = format!("its length is no multiple of {RECORD} bytes: something else was written, or cut");
        found.push(Sign::between(before, None, path, what));
    }
    found.truncate(SIGNS_MAX);
    signs.append(&mut found);
}

/// When the first record after this one that says something was written.
fn next(all: &[Stay], number: usize) -> Option<Timestamp> {
    let after = all.partition_point(|stay| stay.number <= number);
    let told = all.get(after..)?.iter().find(|stay| stay.record.what != What::Blank)?;
    micros(told.record.time)
}

fn row(path: &[u8], kind: &str, stay: &Stay) -> Row {
    let record = &stay.record;
    let what = match (kind, record.what) {
        ("btmp", _) => "failed login",
        ("utmp", What::Login) => "logged in now",
        (_, What::Login) => "login",
        (_, What::Logout) => "logout",
        (_, What::Boot) => "boot",
        (_, What::RunLevel) if record.user == b"shutdown" => "shutdown",
        (_, What::RunLevel) => "run level",
        (_, What::ClockBefore) => "clock, before it was set",
        (_, What::ClockAfter) => "clock, after it was set",
        (_, What::Init) => "init",
        (_, What::Waiting) => "waiting for a login",
        (_, What::Accounting) => "accounting",
        (_, What::Blank) => "blank",
        (_, What::Unknown(kind)) => return Row { what: format!("kind {kind}"), ..row_as("", path, stay) },
    };
    row_as(what, path, stay)
}

fn row_as(what: &str, path: &[u8], stay: &Stay) -> Row {
    let record = &stay.record;
    let ended_by = stay.until.map(|(_, how)| match how {
        Ended::Logout => "logout",
        Ended::Replaced => "another login on the same line",
        Ended::Shutdown => "shutdown",
        Ended::Boot => "a boot, without a shutdown",
    });
    Row {
        time: micros(record.time),
        what: what.to_owned(),
        user: Bytes::from(&record.user),
        line: Bytes::from(&record.line),
        host: Bytes::from(&record.host),
        address: record.address.map(|address| address.to_string()),
        pid: (record.pid != 0).then_some(record.pid),
        until: stay.until.and_then(|(time, _)| micros(time)),
        ended_by,
        file: Bytes::from(path),
    }
}

/// lastlog has a place for every uid there may be: only what is no hole is read.
fn lastlog(walker: &Walker, rows: &mut Vec<Row>) -> Result<(), Miss> {
    let entry = walker.find(LASTLOG)?;
    let size = regular(&entry.fd, &walker.remote)?.size;
    let file = reopen(&entry.fd)?;
    let length = u64::try_from(LAST).unwrap_or(1);
    let names = names(&passwd::text(walker));
    let (mut looked, mut next) = (0, 0);
    for extent in extents(&file, size) {
        let end = extent.offset.saturating_add(extent.length).min(size);
        let mut uid = (extent.offset / length).max(next);
        while uid.saturating_add(1).saturating_mul(length) <= size && uid.saturating_mul(length) < end {
            looked += 1;
            if looked > LAST_MAX {
                return Err(Miss::partial(format!("{LAST_MAX} records were looked at")));
            }
            let mut bytes = [0; LAST];
            file.read_exact_at(&mut bytes, uid * length).map_err(|error| Miss::at("read", &error))?;
            if let Some(last) = last(&bytes) {
                rows.push(Row {
                    time: micros(last.time),
                    what: "last login".to_owned(),
                    user: names
                        .get(&uid)
                        .cloned()
                        .unwrap_or_else(|| Bytes::from(format!("{uid}").as_bytes())),
                    line: Bytes::from(last.line),
                    host: Bytes::from(last.host),
                    address: None,
                    pid: None,
                    until: None,
                    ended_by: None,
                    file: Bytes::from(LASTLOG),
                });
            }
            uid += 1;
            next = uid;
        }
    }
    Ok(())
}

/// Names of the uids, of several the first.
fn names(passwd: &[u8]) -> BTreeMap<u64, Bytes> {
    let mut names = BTreeMap::new();
    for account in accounts::passwd(passwd) {
        names.entry(u64::from(account.uid)).or_insert(account.name);
    }
    names
}

fn micros(time: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(time).ok()
}
