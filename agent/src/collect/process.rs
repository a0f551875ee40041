//! The state of each process in scope: what /proc says of it, as it says it, and as JSON where that helps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use jiff::Timestamp;

use super::Context;
use super::attempts::{Attempts, Gathered, Miss, Piece, json};
use super::descriptors::{descriptors, links};
use super::freeze::TaskList;
use super::pinned::Pinned;
use super::procdir::ProcDir;
use super::state::state;
use super::threads::threads;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::capture::job::{BY_POLICY, Omit};
use crate::plan::InScope;
use crate::plan::around::Around;

/// What is copied of everybody, and at most how many bytes of it.
const TEXTS: &[(&str, u64)] = &[
    ("status", 64 << 10),
    ("stat", 4 << 10),
    ("cmdline", 4 << 20),
    ("environ", 16 << 20),
    ("maps", 16 << 20),
    ("cgroup", 64 << 10),
];

/// What is copied of those who matter more than a look at the whole host does.
const MORE_TEXTS: &[(&str, u64)] = &[
    ("limits", 16 << 10),
    ("syscall", 4 << 10),
    ("wchan", 4 << 10),
    ("stack", 64 << 10),
    ("io", 4 << 10),
    ("loginuid", 64),
    ("sessionid", 64),
    ("uid_map", 64 << 10),
    ("gid_map", 64 << 10),
    ("setgroups", 64),
    ("auxv", 4 << 10),
    ("mountinfo", 4 << 20),
    ("smaps", 16 << 20),
    ("timers", 1 << 20),
    ("timerslack_ns", 64),
    ("timens_offsets", 4 << 10),
    ("oom_score_adj", 64),
    ("coredump_filter", 64),
    ("personality", 64),
    ("attr/current", 4 << 10),
];

/// Beside the texts: descriptors, links; state, threads, smear.
const JSON: usize = 2;
const MORE_JSON: usize = 3;

/// Read ahead: so many processes wait to be written, of each no text that is longer than this.
const AHEAD: usize = 16;
const AHEAD_TEXT: u64 = 64 << 10;
/// Reading is the kernel's work, and waits for its locks; the other processors are the host's.
const READERS: usize = 2;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let count = |one: &InScope| match (one.state, one.all_state) {
        (false, _) => 1,
        (true, false) => TEXTS.len() + JSON,
        (true, true) => TEXTS.len() + MORE_TEXTS.len() + JSON + MORE_JSON,
    };
    let scope = &context.plan.scope;
    attempts.expect(scope.iter().map(count).sum());
    // Those that matter most come first, one by one and whole; the many are read ahead.
    let (few, many) = scope.split_at(scope.iter().position(|one| !one.all_state).unwrap_or(scope.len()));
    let sight = Sight { pinned: &context.pinned, around: &context.look.around };
    for one in few {
        process(sight, one, attempts)?;
    }
    read_ahead(sight, many, attempts)
}

fn process(sight: Sight<'_>, one: &InScope, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let mut subject = Subject::open(sight, one);
    while let Some(piece) = subject.piece(attempts.late(), u64::MAX) {
        match piece {
            Next::Piece(piece) => attempts.put(piece)?,
            Next::Miss(subject, miss) => attempts.miss(subject, miss)?,
            Next::TooLong => {}
        }
    }
    Ok(())
}

/// Some threads read, this one writes. What is too long to wait is read again, by this one.
fn read_ahead(sight: Sight<'_>, many: &[InScope], attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let deadline = attempts.room().deadline;
    thread::scope(|scope| {
        let (tell, hear) = sync_channel(AHEAD);
        for _ in 0..READERS {
            let (tell, next) = (tell.clone(), &next);
            let read = move || {
                while let Some(one) = many.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut subject = Subject::open(sight, one);
                    let late = || Instant::now() >= deadline;
                    let pieces: Vec<Next> =
                        std::iter::from_fn(|| subject.piece(late(), AHEAD_TEXT)).collect();
                    // Nobody hears when the bag can no longer be written.
                    if tell.send((one, pieces)).is_err() {
                        return;
                    }
                }
            };
            scope.spawn(read);
        }
        drop(tell);
        for (one, pieces) in hear {
            if pieces.iter().any(|piece| matches!(piece, Next::TooLong)) {
                process(sight, one, attempts)?;
                continue;
            }
            for piece in pieces {
                match piece {
                    Next::Piece(piece) => attempts.put(piece)?,
                    Next::Miss(subject, miss) => attempts.miss(subject, miss)?,
                    Next::TooLong => {}
                }
            }
        }
        Ok(())
    })
}

/// What comes of reading on.
enum Next {
    Piece(Piece),
    Miss(String, Miss),
    /// There is more than may be read ahead.
    TooLong,
}

/// What reading a process needs.
#[derive(Clone, Copy)]
struct Sight<'a> {
    pinned: &'a Pinned,
    around: &'a Around,
}

/// One process that is being read, piece by piece.
struct Subject<'a> {
    sight: Sight<'a>,
    one: &'a InScope,
    short: String,
    dir: Result<Arc<ProcDir>, Option<Miss>>,
    /// Its threads when reading began.
    before: Option<TaskList>,
    at: usize,
}

impl<'a> Subject<'a> {
    fn open(sight: Sight<'a>, one: &'a InScope) -> Self {
        let dir = if one.state {
            match sight.pinned.get(one.id) {
                Ok(dir) if dir.is_agent() => Err(Miss::refused("it is a process of the agent itself")),
                other => other,
            }
        } else {
            Err(Miss::new(Outcome::Gone, "it had exited; its record is in process/tree.json"))
        };
        let before = dir.as_ref().ok().filter(|_| one.all_state).map(|dir| TaskList::at(dir));
        Self { sight, one, short: one.id.short(), dir: dir.map_err(Some), before, at: 0 }
    }

    /// The next piece; none after the last.
    fn piece(&mut self, late: bool, longest: u64) -> Option<Next> {
        let at = self.at;
        self.at = at.saturating_add(1);
        if let Err(miss) = &mut self.dir {
            return miss.take().map(|miss| Next::Miss(format!("{} state", self.short), miss));
        }
        let Ok(dir) = &self.dir else { return None };
        let more = if self.one.all_state { MORE_TEXTS } else { &[] };
        if let Some((text, max)) = TEXTS.iter().chain(more).nth(at) {
            let subject = format!("{} {text}", self.short);
            if *text == "environ" && self.one.omitted.contains(&Omit::Environment) {
                return Some(Next::Miss(subject, Miss::refused(BY_POLICY)));
            }
            let piece = made(subject, self.artifact(&text.replace('/', "-")), late, || {
                read(dir, text, (*max).min(longest))
            });
            let cut = *max > longest && piece.found.as_ref().is_ok_and(|(_, lack)| lack.is_some());
            return Some(if cut { Next::TooLong } else { Next::Piece(piece) });
        }
        let around = self.sight.around;
        let number = at.checked_sub(TEXTS.len().saturating_add(more.len()))?;
        let (name, find): (&str, &dyn Fn() -> Result<Gathered, Miss>) = match number {
            0 => ("ns", &|| links(dir)),
            1 => ("fd", &|| descriptors(around, dir)),
            2 if self.one.omitted.contains(&Omit::Memory) => {
                return Some(Next::Miss(format!("{} core", self.short), Miss::refused(BY_POLICY)));
            }
            3 if self.one.all_state => ("state", &|| state(dir)),
            4 if self.one.all_state => ("threads", &|| threads(dir)),
            5 if self.one.all_state => ("smear", &|| self.smear(dir)),
            2 | 3 => return self.piece(late, longest),
            _ => return None,
        };
        let subject = format!("{} {name}", self.short);
        Some(Next::Piece(made(subject, self.artifact(&format!("{name}.json")), late, || {
            let found = find();
            dir.is_there()?;
            found
        })))
    }

    /// What has changed since reading began.
    fn smear(&self, dir: &ProcDir) -> Result<Gathered, Miss> {
        let Some(before) = &self.before else {
            return Err(Miss::refused("its threads were not listed before"));
        };
        let smear = before.until_now(dir);
        let said = || Miss::new(Outcome::Ok, smear.said());
        Ok((json(&smear)?, smear.lack().or_else(|| Some(said()))))
    }

    fn artifact(&self, name: &str) -> Name {
        Name::data(&["process", &self.short, name])
    }
}

/// A text. The bytes are of the process that was meant: the directory is pinned. It is looked at whole only where there
/// are none, as it may have ended.
fn read(dir: &ProcDir, text: &str, max: u64) -> Result<Gathered, Miss> {
    let found = dir.text(text, max);
    if found.as_ref().is_ok_and(|(bytes, _)| !bytes.is_empty()) {
        dir.is_there()?;
    } else {
        dir.check()?;
    }
    found.map_err(|miss| dir.missed(miss))
}

fn made(subject: String, name: Name, late: bool, find: impl FnOnce() -> Result<Gathered, Miss>) -> Piece {
    let (at, begun) = (Timestamp::now(), Instant::now());
    let found = if late { Err(Miss::late()) } else { find() };
    Piece { subject, name, at, took: begun.elapsed(), found }
}

#[cfg(test)]
#[path = "process_test.rs"]
mod tests;
