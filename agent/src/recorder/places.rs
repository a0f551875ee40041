//! What is done to files in places of persistence and to logs, by marks on those directories only.

mod logs;
mod marks;
mod who;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::logs::Logs;
use self::marks::{Directory, Marks};
use self::who::Who;
use super::keeper::Keeper;
use crate::event::touch::{Deed, Place, Touch};
use crate::event::{Action, Event, Loss, ProcessId, Source};
use crate::places::record::{self, Handle, Record, mask};
use crate::places::sieve::{Done, Sieve};

/// The kernel makes one of neighbouring events that are alike, as long as they are not read.
const REST: Duration = Duration::from_millis(50);
/// How often directories are looked for.
const LOOK: Duration = Duration::from_mins(1);
/// How long after the last look at the earliest, when a new directory was seen.
const LOOK_NEW: Duration = Duration::from_millis(500);

/// Whether it would be in force, or why not.
pub(super) fn is_possible(root: &Path, enabled: bool) -> Result<(), String> {
    group(root, enabled).map(drop)
}

fn group(root: &Path, enabled: bool) -> Result<Marks, String> {
    if enabled { Marks::new(root) } else { Err("switched off (probe.places)".to_owned()) }
}

/// The places.
pub(super) struct Places {
    marks: Result<Marks, String>,
    proc: PathBuf,
    logs: Logs,
    sieve: Sieve,
    /// Read, and not yet told: the probe's events of the same time go first.
    pending: Vec<Record>,
    broken: u64,
    read: Option<Instant>,
    read_at: Timestamp,
    looked: Instant,
    is_new: bool,
}

impl Places {
    /// Marks what is there; `enabled` is the configuration's word.
    pub(super) fn open(root: &Path, proc: &Path, enabled: bool) -> Self {
        let marks = group(root, enabled);
        if let Err(reason) = &marks {
            tracing::warn!("places of persistence and logs are not watched: {reason}");
        }
        let now = Instant::now();
        let mut places = Self {
            marks,
            proc: proc.to_owned(),
            logs: Logs::default(),
            sieve: Sieve::default(),
            pending: Vec::new(),
            broken: 0,
            read: None,
            read_at: Timestamp::now(),
            looked: now,
            is_new: false,
        };
        // What is there at the start is no news.
        drop(places.look(now));
        places
    }

    /// Takes what the kernel has to tell, to be told after the probe's events of the same time.
    pub(super) fn read(&mut self, now: Instant) {
        let Ok(marks) = &self.marks else { return };
        if !self.pending.is_empty() || !self.is_rested(now) {
            return;
        }
        self.read = Some(now);
        for bytes in marks.read() {
            let (records, broken) = record::parse(&bytes);
            self.pending.extend(records);
            self.broken = self.broken.saturating_add(broken);
        }
    }

    /// The next [`read`](Self::read) does not wait for more.
    pub(super) fn hurry(&mut self) {
        self.read = None;
    }

    fn is_rested(&self, now: Instant) -> bool {
        self.read.is_none_or(|read| now.saturating_duration_since(read) >= REST)
    }

    /// Tells what was read.
    pub(super) fn tell(&mut self, now: Instant, keeper: &mut Keeper, watch: &mut dyn FnMut(&Event)) {
        let records = std::mem::take(&mut self.pending);
        let since = std::mem::replace(&mut self.read_at, Timestamp::now());
        let mut told = self.sieve.due(now);
        let deeds = self.deeds(&records);
        let who = Who::find(deeds.iter().map(|(pid, _)| *pid), keeper, &self.proc);
        let mut deeds: Vec<Done> =
            deeds.into_iter().map(|(pid, touch)| self.done(who.get(pid), touch)).collect();
        if records.contains(&Record::Overflow) {
            let words = "the kernel's queue of file events was full; how many are missing is not known";
            lose(keeper, since, 1, words, watch);
            self.logs.forget_all();
            self.is_new = true;
        }
        let pause = if self.is_new { LOOK_NEW } else { LOOK };
        if now.saturating_duration_since(self.looked) >= pause {
            let found = self.look(now);
            deeds.extend(found.into_iter().map(|touch| self.done(None, touch)));
        }
        told.extend(deeds.into_iter().filter_map(|done| self.sieve.take(now, done)));
        for Done { time, process, touch } in told {
            let action = Action::Touch(Box::new(touch));
            let own = keeper.own_event(time, action);
            let event =
                process.map_or(own.clone(), |process| Event { process, source: Source::Agent, ..own });
            keeper.take(event, watch);
        }
        let lost = self.sieve.lost();
        if lost > 0 {
            lose(keeper, since, lost, "more was done to different files than is told in a second", watch);
        }
        let broken = std::mem::take(&mut self.broken);
        if broken > 0 {
            lose(keeper, since, broken, "the kernel's records were not understood", watch);
        }
    }

    fn done(&self, process: Option<ProcessId>, touch: Touch) -> Done {
        let touch = Touch { unknown: process.is_none(), ..touch };
        Done { time: self.read_at, process, touch }
    }

    /// What the records say, with the pid of who did it.
    fn deeds(&mut self, records: &[Record]) -> Vec<(u32, Touch)> {
        let Ok(marks) = &self.marks else { return Vec::new() };
        let mut deeds = Vec::new();
        for record in records {
            let Record::Entry { mask, pid, directory: handle, name } = record else { continue };
            let Some(directory) = marks.directory(handle) else { continue };
            if mask & mask::ONDIR != 0 && mask & (mask::CREATE | mask::MOVED_TO) != 0 {
                self.is_new = true;
            }
            let all = match directory.place {
                Place::Log => self.logs.deeds(marks, handle, directory, name, (*mask, *pid)),
                Place::Persistence if directory.names.matter(name) => persistence(*mask),
                Place::Persistence => Vec::new(),
            };
            deeds.extend(all.into_iter().map(|deed| (*pid, touch(deed, directory, name))));
        }
        deeds.extend(self.logs.cut(marks));
        deeds
    }

    /// Looks for directories; what is already in those that are new was there before anybody watched.
    fn look(&mut self, now: Instant) -> Vec<Touch> {
        let Ok(marks) = &mut self.marks else { return Vec::new() };
        (self.looked, self.is_new) = (now, false);
        let mut found = Vec::new();
        for (handle, directory) in marks.look() {
            let names = self.names(&handle);
            match directory.place {
                Place::Log => self.logs.learn(self.marks.as_ref().ok(), &handle, &directory, &names),
                Place::Persistence => {
                    let names = names.iter().filter(|name| directory.names.matter(name));
                    found.extend(names.map(|name| touch(Deed::Found, &directory, name)));
                }
            }
        }
        found
    }

    fn names(&self, handle: &Handle) -> Vec<Vec<u8>> {
        let directory = self.marks.as_ref().ok().and_then(|marks| marks.open(handle));
        directory.map_or_else(Vec::new, |directory| marks::names(directory.as_fd()))
    }

    /// What to wait for.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.marks.as_ref().ok().filter(|_| self.is_rested(Instant::now())).map(AsFd::as_fd)
    }

    /// Whether it is in force.
    pub(super) fn report(&self) -> Value {
        let (words, watched) = match &self.marks {
            Ok(marks) => {
                let (watched, refused, one) = marks.count();
                let but = one.map_or_else(String::new, |one| format!("; {refused} cannot be ({one})"));
                (format!("{watched} directories are watched for persistence and cut logs{but}"), watched)
            }
            Err(reason) => (format!("not watched: {reason}"), 0),
        };
        json!({ "in_force": self.marks.is_ok(), "words": words, "directories": watched })
    }
}

fn touch(deed: Deed, directory: &Directory, name: &[u8]) -> Touch {
    Touch {
        deed,
        place: directory.place,
        path: directory.join(name),
        before: None,
        after: None,
        count: 1,
        writers: None,
        unknown: false,
    }
}

/// In a place of persistence everything counts. The kernel makes one event of several, whose order is then not known.
fn persistence(mask: u64) -> Vec<Deed> {
    // A deletion changes the count of links, which is no news.
    let attributes = if mask & mask::DELETE == 0 { mask::ATTRIB } else { 0 };
    let all = [
        (mask::CREATE, Deed::Created),
        (mask::MOVED_TO, Deed::RenamedIn),
        (mask::MODIFY | mask::CLOSE_WRITE, Deed::Written),
        (attributes, Deed::Attributes),
        (mask::MOVED_FROM, Deed::RenamedOut),
        (mask::DELETE, Deed::Deleted),
    ];
    all.into_iter().filter(|(bits, _)| mask & bits != 0).map(|(_, deed)| deed).collect()
}

fn lose(keeper: &mut Keeper, since: Timestamp, count: u64, detail: &str, watch: &mut dyn FnMut(&Event)) {
    tracing::warn!(count, "what was done to files is lost: {detail}");
    let loss = Loss { place: "places".to_owned(), count, since, detail: detail.to_owned() };
    let event = keeper.own_event(Timestamp::now(), Action::Loss(loss));
    keeper.take(event, watch);
}
