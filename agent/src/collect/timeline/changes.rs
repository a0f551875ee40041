//! What was changed in the window before the trigger and since: from the history, and from the times the file system
//! keeps; those that are most worth a look first, with the reasons.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::deeds::{Deeds, Done};
use super::rank::{Reason, Scene, of_file, of_path};
use crate::collect::attempts::Miss;
use crate::collect::findings::File;
use crate::collect::system::Attributes;
use crate::history::policy::Accounts;
use crate::text::Bytes;

/// Changes that are told: of more, those worth least are left out, and counted.
const CHANGES_MAX: usize = 10_000;

/// One changed path.
#[derive(Debug, Serialize)]
struct Change {
    /// The sum of the reasons' weights.
    score: i32,
    path: Bytes,
    /// The newest of its times.
    time: Option<Timestamp>,
    reasons: Vec<Why>,
    /// What the history tells, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deeds: Vec<Done>,
    /// Whether it is there.
    exists: bool,
    #[serde(flatten)]
    file: Option<File>,
}

#[derive(Debug, Serialize)]
struct Why {
    weight: i32,
    why: &'static str,
}

/// Changes in the making, by score, time and path.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) deeds: Deeds,
    scene: Scene,
    accounts: Accounts,
    /// Seconds since 1970.
    since: i64,
    /// The agent's own folder.
    own: Vec<u8>,
    all: BTreeMap<(i32, i64, Vec<u8>), Change>,
    left_out: u64,
}

impl Changes {
    pub(super) fn new(deeds: Deeds, scene: Scene, accounts: Accounts, since: i64, own: Vec<u8>) -> Self {
        Self { deeds, scene, accounts, since, own, all: BTreeMap::new(), left_out: 0 }
    }

    /// A file that is there.
    pub(super) fn see(&mut self, path: &[u8], file: &Attributes) {
        const BORN: usize = 3;
        let deeds = self.deeds.take(path);
        let times = [file.changed(), file.times.get(BORN).copied().flatten()];
        let newest = times.into_iter().flatten().map(|(seconds, _)| seconds).max().unwrap_or(i64::MIN);
        let is_own = !self.own.is_empty() && path.starts_with(&self.own);
        // A directory's own time says only that something in it was changed: that is told by itself.
        let is_ordinary =
            deeds.is_empty() && file.is_dir() && times[1].is_none_or(|(born, _)| born < self.since);
        if (deeds.is_empty() && newest < self.since) || is_ordinary || is_own {
            return;
        }
        let mut reasons = of_path(path);
        reasons.extend(of_file(path, file, self.accounts.is_service(file.uid), &self.scene));
        self.add(path, newest, reasons, deeds, Some(file));
    }

    /// What the history tells of files that were not seen; `find` looks for them.
    pub(super) fn rest(&mut self, find: &dyn Fn(&[u8]) -> Option<Attributes>) {
        for (path, deeds) in self.deeds.rest() {
            let Some(file) = find(&path) else {
                let mut reasons = of_path(&path);
                reasons.push((1, "gone"));
                let newest = deeds.first().map_or(i64::MIN, |done| done.time.as_second());
                self.add(&path, newest, reasons, deeds, None);
                continue;
            };
            let mut reasons = of_path(&path);
            reasons.extend(of_file(&path, &file, self.accounts.is_service(file.uid), &self.scene));
            let newest = file.changed().map_or(i64::MIN, |(seconds, _)| seconds);
            self.add(&path, newest, reasons, deeds, Some(&file));
        }
    }

    fn add(
        &mut self,
        path: &[u8],
        newest: i64,
        mut reasons: Vec<Reason>,
        deeds: Vec<Done>,
        file: Option<&Attributes>,
    ) {
        if let Some(most) = deeds.iter().map(|done| done.weight).max() {
            reasons.push((most, "the history tells what was done to it"));
        }
        if self.deeds.by_family(&deeds) {
            reasons.push((6, "done by a target or what descends from it"));
        } else if self.deeds.is_near(path) {
            reasons.push((3, "beside what a target did or ran"));
        }
        let score = reasons.iter().map(|(weight, _)| weight).sum();
        let key = (score, newest, path.to_vec());
        if self.all.len() >= CHANGES_MAX {
            self.left_out += 1;
            if self.all.first_key_value().is_some_and(|(least, _)| *least >= key) {
                return;
            }
            self.all.pop_first();
        }
        reasons.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let time = (newest > i64::MIN).then(|| Timestamp::from_second(newest).ok()).flatten();
        let reasons = reasons.into_iter().map(|(weight, why)| Why { weight, why }).collect();
        let (path, exists) = (Bytes::from(path), file.is_some());
        self.all
            .insert(key, Change { score, path, time, reasons, deeds, exists, file: file.map(File::from) });
    }

    /// One line of JSON each, the most important first; and what is missing.
    pub(super) fn lines(&self) -> Result<(Vec<u8>, Vec<String>), Miss> {
        let mut lines = Vec::new();
        for change in self.all.values().rev() {
            serde_json::to_writer(&mut lines, change)
                .map_err(|error| Miss::refused(format!("write as JSON: {error}")))?;
            lines.push(b'\n');
        }
        let mut lacks = self.deeds.unread.clone();
        if self.left_out > 0 {
            lacks.push(format!("{} changes of less weight", self.left_out));
        }
        if self.deeds.left_out > 0 {
            lacks.push(format!("{} deeds of the history were too many", self.deeds.left_out));
        }
        Ok((lines, lacks))
    }
}

#[cfg(test)]
#[path = "changes_test.rs"]
mod tests;
