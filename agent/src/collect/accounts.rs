//! `data/accounts.jsonl`: who may come in and what they may do: accounts, groups, rules of sudo and doas, login keys. Hashes of
//! passwords are not in it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::file::text;
use super::matching::Matching;
use super::packages::lines;
use super::passwd::homes;
use super::system::Attributes;
use super::walk::Walker;
use crate::accounts::{self, Account, Group, Key, State};
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::definitions::Pattern;
use crate::persistence::lines::joined;
use crate::text::{Bytes, escape};

/// Entries that are looked at, bytes of one file, and lines of the table.
const ENTRIES_MAX: usize = 100_000;
const TEXT_MAX: u64 = 8 << 20;
const ROWS_MAX: usize = 200_000;

const RULES: &[&str] =
    &["/etc/sudoers", "/etc/sudoers.d/*", "/usr/local/etc/sudoers", "/etc/doas.conf", "/etc/doas.d/*"];
const KEYS: &[&str] = &[
    "%%users.homedir%%/.ssh/authorized_keys*",
    "/etc/ssh/authorized_keys/*",
    "/etc/dropbear/authorized_keys",
];

/// One line.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Row {
    Account {
        name: Bytes,
        uid: u32,
        gid: u32,
        comment: Bytes,
        home: Bytes,
        shell: Bytes,
        groups: Vec<Bytes>,
        password: State,
        #[serde(skip_serializing_if = "Option::is_none")]
        hashed_by: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        password_changed: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires: Option<String>,
        path: Bytes,
        line: usize,
        reasons: Vec<String>,
    },
    Group {
        name: Bytes,
        gid: u32,
        members: Vec<Bytes>,
    },
    /// Who may do something as somebody else.
    Rule {
        path: Bytes,
        line: u32,
        text: Bytes,
    },
    /// A key that is let in.
    Key {
        path: Bytes,
        line: usize,
        /// Whose file it is.
        uid: u32,
        key: Bytes,
        fingerprint: String,
        #[serde(skip_serializing_if = "Bytes::is_empty")]
        options: Bytes,
        comment: Bytes,
        /// When the file was last changed.
        changed: Option<Timestamp>,
    },
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    let until = Instant::now() + (left / 10).min(Duration::from_secs(20));
    let places = &context.job.places;
    let mut walker = Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let mut lacks = Vec::new();
    let mut read = |path: &[u8]| match read(path, &walker) {
        Ok((bytes, all)) => {
            if !all {
                lacks.push(format!("{}: the first {TEXT_MAX} bytes", escape(path)));
            }
            Some(bytes)
        }
        Err(miss) => {
            if miss.outcome != Outcome::Gone {
                lacks.push(format!("{}: {}", escape(path), miss.detail));
            }
            None
        }
    };
    let passwd = read(b"/etc/passwd").unwrap_or_default();
    let shadow = read(b"/etc/shadow");
    let groups = accounts::groups(&read(b"/etc/group").unwrap_or_default());
    let all = accounts::accounts(&passwd, shadow.as_deref(), &groups);
    let count = all.len();
    let mut rows: Vec<Row> = all.into_iter().map(of_account).collect();
    rows.extend(groups.into_iter().map(|Group { name, gid, members }| Row::Group { name, gid, members }));
    for (path, _) in look(RULES, &mut walker, &mut lacks) {
        if is_over(&rows, &walker) {
            lacks.push(format!("{} and what follows: no room or time for it", escape(&path)));
            break;
        }
        each(&path, &walker, &mut lacks, |bytes| {
            let rules = joined(bytes).into_iter();
            rows.extend(rules.map(|(line, text)| of_rule(&path, line, &text)));
        });
    }
    let mut keys = 0;
    for (path, attributes) in look(KEYS, &mut walker, &mut lacks) {
        if is_over(&rows, &walker) {
            lacks.push(format!("{} and what follows: no room or time for it", escape(&path)));
            break;
        }
        each(&path, &walker, &mut lacks, |bytes| {
            let found = accounts::keys(bytes);
            keys += found.len();
            rows.extend(found.into_iter().map(|key| of_key(&path, &attributes, key)));
        });
    }
    if rows.len() > ROWS_MAX {
        lacks.push(format!("{} more lines were too many", rows.len() - ROWS_MAX));
        rows.truncate(ROWS_MAX);
    }
    attempts.take("table of accounts", &Name::data(&["accounts.jsonl"]), |_| {
        lacks.extend(walker.lacks.iter().cloned());
        let lack = (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")));
        Ok(Found::bytes(lines(rows.iter())?).lacking(lack).noting(format!("{count} accounts, {keys} keys")))
    })?;
    Ok(())
}

fn read(path: &[u8], walker: &Walker) -> Result<(Vec<u8>, bool), Miss> {
    let entry = walker.find(path)?;
    text(&entry.fd, &walker.remote, TEXT_MAX)
}

/// The files that some patterns mean, without the directories among them.
fn look(patterns: &[&str], walker: &mut Walker, lacks: &mut Vec<String>) -> Vec<(Vec<u8>, Attributes)> {
    let mut people: Vec<Vec<u8>> = homes(walker).into_iter().map(|user| user.home).collect();
    if !people.iter().any(|home| home == b"/root") {
        people.push(b"/root".to_vec());
    }
    let mut matching = Matching::new(walker, &people);
    for pattern in patterns {
        if let Ok(pattern) = Pattern::parse(pattern.as_bytes()) {
            matching.look(&pattern);
        }
    }
    let Matching { found, refused, .. } = matching;
    lacks.extend(
        refused.into_iter().map(|(path, miss)| format!("{}: {}", escape(&path), miss.detail)).take(64),
    );
    found.into_iter().filter(|(_, attributes)| attributes.is_file()).collect()
}

/// Whether nothing more is to be read.
fn is_over(rows: &[Row], walker: &Walker) -> bool {
    rows.len() > ROWS_MAX || Instant::now() >= walker.until
}

fn each(path: &[u8], walker: &Walker, lacks: &mut Vec<String>, mut sink: impl FnMut(&[u8])) {
    match read(path, walker) {
        Ok((bytes, _)) => sink(&bytes),
        Err(miss) if lacks.len() < 128 => lacks.push(format!("{}: {}", escape(path), miss.detail)),
        Err(_) => {}
    }
}

fn of_account(account: Account) -> Row {
    let Account { line, name, uid, gid, comment, home, shell, password, groups, reasons } = account;
    Row::Account {
        name,
        uid,
        gid,
        comment,
        home,
        shell,
        groups,
        password: password.state,
        hashed_by: password.scheme,
        password_changed: password.changed.and_then(day),
        expires: password.expires.and_then(day),
        path: Bytes::from(b"/etc/passwd"),
        line,
        reasons,
    }
}

fn of_rule(path: &[u8], line: u32, text: &[u8]) -> Row {
    Row::Rule { path: Bytes::from(path), line, text: Bytes::from(text) }
}

fn of_key(path: &[u8], attributes: &Attributes, key: Key) -> Row {
    let Key { line, options, kind, fingerprint, comment } = key;
    let changed = attributes.changed();
    let changed = changed.and_then(|(s, ns)| Timestamp::new(s, i32::try_from(ns).ok()?).ok());
    Row::Key {
        path: Bytes::from(path),
        line,
        uid: attributes.uid,
        key: kind,
        fingerprint,
        options,
        comment,
        changed,
    }
}

/// A day since 1970, as a date.
fn day(days: i64) -> Option<String> {
    let time = Timestamp::from_second(days.checked_mul(86_400)?).ok()?;
    time.to_string().split_once('T').map(|(date, _)| date.to_owned())
}

#[cfg(test)]
#[path = "accounts_test.rs"]
mod tests;
