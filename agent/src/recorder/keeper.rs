//! What becomes of an event: into the tree, into the history, and its executable into the stash.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::compactor::Compactor;
use crate::event::{Action, Agent, BootId, Event, Gap, Image, Loss, ProcessId, Source};
use crate::history::gaps;
use crate::history::retain::Retained;
use crate::history::segment;
use crate::history::sieve::Sieve;
use crate::history::stash::{Kept, Stash};
use crate::history::tree::{Bounds, Tree};
use crate::history::writer::{Lost, Writer};
use crate::ipc;
use crate::text::Bytes;

/// The most events that are read back at a start: the newest, enough for the tree in memory.
const RESTORE_EVENTS: u64 = 60_000;
/// How often what could not be written is tried to be told.
const RETRY: Duration = Duration::from_secs(1);
/// How long a start waits for them: whoever comes next must not be missed.
const RESTORE_TIME: Duration = Duration::from_secs(1);

/// What was kept and what was not, since the recorder started.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Counts {
    /// Events handed to the history.
    pub(super) events: u64,
    /// Of these, lost because the history could not be written.
    pub(super) history_lost: u64,
    /// Calls of the probe's that are not kept: renames, chmods and deletions of what was never run, root that stays root.
    pub(super) sifted: u64,
    /// Events of the agent's own canary, which are not kept either.
    pub(super) canary: u64,
    /// Executables that are in the stash (each process counts).
    pub(super) stashed: u64,
    /// Executables that could not be taken, mostly because the process was gone already.
    pub(super) stash_missed: u64,
    /// Executables that were left out on purpose.
    pub(super) stash_skipped: u64,
}

/// Losses that are not yet in the history.
#[derive(Default)]
struct Unsaid {
    count: u64,
    since: Option<Timestamp>,
    last: String,
}

/// Tree, history and stash.
pub(super) struct Keeper {
    /// Living and exited processes.
    pub(super) tree: Tree,
    /// The stash's question and answer.
    pub(super) stash: Stash,
    /// What was kept.
    pub(super) counts: Counts,
    proc: PathBuf,
    own: ProcessId,
    history: Writer,
    gaps: gaps::Log,
    sieve: Sieve,
    folder: PathBuf,
    compactor: Compactor,
    missed: Unsaid,
    unwritten: Unsaid,
    /// When the losses of the history were last tried to be written.
    tried: Option<Instant>,
}

impl Keeper {
    /// Reads back what an earlier recorder wrote. `own` is the recorder's process.
    pub(super) fn restore(
        history: &Path,
        gaps: gaps::Log,
        proc: &Path,
        own: ProcessId,
        stash: Stash,
        now: Timestamp,
    ) -> Result<Self, segment::Error> {
        let writer = Writer::new(history)?;
        let mut tree = Tree::new(Bounds::RECORDER);
        let mut last = None;
        let (mut events, deadline) = (0, Instant::now() + RESTORE_TIME);
        segment::read_back(&segment::list(history)?, &mut |event| {
            tree.apply(&event);
            last = last.max(Some(event.time));
            events += 1;
            events < RESTORE_EVENTS && Instant::now() < deadline
        })?;
        let mut keeper = Self {
            tree,
            stash,
            counts: Counts::default(),
            proc: proc.to_owned(),
            own,
            history: writer,
            gaps,
            sieve: Sieve::default(),
            folder: history.to_owned(),
            compactor: Compactor::default(),
            tried: None,
            missed: Unsaid::default(),
            unwritten: Unsaid::default(),
        };
        if let Some(since) = last.filter(|since| *since < now) {
            let reason = "no recorder ran between the last event and this start".to_owned();
            let gap = keeper.own_event(now, Action::Gap(Gap { since, reason }));
            keeper.take(gap, &mut |_| {});
        }
        Ok(keeper)
    }

    /// An event about the agent itself.
    pub(super) fn own_event(&self, time: Timestamp, action: Action) -> Event {
        Event { time, source: Source::Agent, process: self.own, action }
    }

    /// This boot.
    pub(super) fn boot(&self) -> BootId {
        self.own.boot
    }

    /// Says that the recorder started or stopped, and with what sight.
    pub(super) fn say(
        &mut self,
        state: &str,
        detail: &str,
        counts: Option<Value>,
        watch: &mut dyn FnMut(&Event),
    ) {
        let agent = Agent { state: state.to_owned(), detail: detail.to_owned(), counts };
        let event = self.own_event(Timestamp::now(), Action::Agent(agent));
        self.take(event, watch);
    }

    /// Takes in one event.
    pub(super) fn take(&mut self, mut event: Event, watch: &mut dyn FnMut(&Event)) {
        let mut later = Vec::new();
        match &mut event.action {
            Action::Call(_) => return self.take_call(event, watch),
            Action::Exec(image) => {
                // What was done to the file before it was run is of interest from now on.
                let before = self.sieve.exec(image);
                later = self.stash.take(&self.proc, event.process, image);
                self.counts.stashed = self.counts.stashed.saturating_add(name_content(image, &mut later));
                for before in before {
                    self.counts.sifted = self.counts.sifted.saturating_sub(1);
                    self.keep(&before, watch);
                }
            }
            // A kernel thread has no executable that could be missed.
            Action::Running(image) if image.inode != 0 || !image.executable.is_empty() => {
                later = self.stash.take(&self.proc, event.process, image);
            }
            Action::Exit(_) => self.stash.ended(event.process.pid),
            _ => {}
        }
        self.keep(&event, watch);
        for kept in later {
            self.stashed(kept, watch);
        }
    }

    fn take_call(&mut self, mut event: Event, watch: &mut dyn FnMut(&Event)) {
        let Action::Call(call) = &mut event.action else { return };
        let image = self.tree.get(&event.process).and_then(|node| node.image());
        let uid = image.map(|image| image.uid);
        call.joined(image.map_or(&Bytes::default(), |image| &image.working_directory));
        let call = call.clone();
        if self.sieve.call(&event, &call, uid) {
            self.keep(&event, watch);
        } else {
            self.counts.sifted = self.counts.sifted.saturating_add(1);
        }
    }

    /// Takes in the stasher's answers; an error means that it is gone.
    pub(super) fn answers(&mut self, watch: &mut dyn FnMut(&Event)) -> Result<(), ipc::Error> {
        self.stash.answers()?.into_iter().for_each(|kept| self.stashed(kept, watch));
        Ok(())
    }

    /// Speaks to another stasher, or to none, from now on.
    pub(super) fn connect_stasher(&mut self, channel: Option<ipc::Channel>, watch: &mut dyn FnMut(&Event)) {
        self.stash.connect(channel).into_iter().for_each(|kept| self.stashed(kept, watch));
    }

    /// Seals a frame whose time has come; writes down what was lost since the last call.
    pub(super) fn tick(&mut self, now: Instant, watch: &mut dyn FnMut(&Event)) {
        self.own_losses(watch);
        let outcome = self.history.tick(now);
        self.count_unwritten(outcome);
    }

    /// Writes all there is.
    pub(super) fn flush(&mut self, watch: &mut dyn FnMut(&Event)) {
        self.own_losses(watch);
        let outcome = self.history.seal_frame(Instant::now());
        self.count_unwritten(outcome);
    }

    /// Removes what is too old or too much, and has what was closed compacted.
    pub(super) fn retain(&mut self, bytes: u64, hours: u32, now: Timestamp) {
        let oldest = now.checked_sub(jiff::SignedDuration::from_hours(i64::from(hours))).unwrap_or(now);
        match self.history.retain(bytes, oldest) {
            Ok(Retained { removed: 0, held: 0 }) => {}
            Ok(Retained { removed, held }) => {
                tracing::info!(removed, held, "old history segments removed, or held by a capture");
            }
            Err(failure) => tracing::warn!("{failure}; the history may grow beyond history.bytes"),
        }
        self.compactor.turn(&self.folder);
    }

    fn keep(&mut self, event: &Event, watch: &mut dyn FnMut(&Event)) {
        self.tree.apply(event);
        watch(event);
        self.counts.events = self.counts.events.saturating_add(1);
        self.note_gap(event);
        let outcome = self.history.append(event, Instant::now());
        self.count_unwritten(outcome);
    }

    /// Gaps and losses that touch the time from `since` to `until`.
    pub(super) fn gaps(&self, since: Timestamp, until: Timestamp) -> Vec<Event> {
        self.gaps.within(since, until)
    }

    fn note_gap(&mut self, event: &Event) {
        if let Err(failure) = self.gaps.add(event) {
            tracing::error!("{failure}; it is in the history only");
        }
    }

    /// A time without sight that ends now.
    pub(super) fn gap(&mut self, since: Timestamp, reason: String, watch: &mut dyn FnMut(&Event)) {
        let event = self.own_event(Timestamp::now(), Action::Gap(Gap { since, reason }));
        self.take(event, watch);
    }

    fn stashed(&mut self, kept: Kept, watch: &mut dyn FnMut(&Event)) {
        let now = Timestamp::now();
        let by_agent = |process, action| Event { time: now, source: Source::Agent, process, action };
        match kept {
            Kept::Yes(process, stashed) => {
                self.counts.stashed = self.counts.stashed.saturating_add(1);
                self.keep(&by_agent(process, Action::Stash(stashed)), watch);
            }
            Kept::Skipped(process, skipped) => {
                self.counts.stash_skipped = self.counts.stash_skipped.saturating_add(1);
                self.keep(&by_agent(process, Action::Skip(skipped)), watch);
            }
            Kept::No(process, executable, reason) => {
                self.counts.stash_missed = self.counts.stash_missed.saturating_add(1);
                self.missed
                    .add(1, format!("the last one: {executable} of process {}: {reason}", process.short()));
            }
        }
    }

    fn count_unwritten(&mut self, outcome: Result<(), Lost>) {
        let Err((lost, failure)) = outcome else { return };
        tracing::error!(lost, "{failure}; events are lost");
        self.counts.history_lost = self.counts.history_lost.saturating_add(lost);
        self.unwritten.add(lost, failure.to_string());
    }

    fn own_losses(&mut self, watch: &mut dyn FnMut(&Event)) {
        if let Some((loss, _)) = self.missed.take("stash") {
            let event = self.own_event(Timestamp::now(), Action::Loss(loss));
            self.keep_own(&event, watch);
        }
        let now = Instant::now();
        if self.tried.is_some_and(|tried| now.saturating_duration_since(tried) < RETRY) {
            return;
        }
        let Some((loss, since)) = self.unwritten.take("history") else { return };
        self.tried = Some(now);
        let (count, detail) = (loss.count, loss.detail.clone());
        let reason = format!("the history could not be written: {detail}");
        let until = Timestamp::now();
        let events = [Action::Loss(loss), Action::Gap(Gap { since, reason })];
        let events = events.map(|action| self.own_event(until, action));
        let written = events.iter().try_for_each(|event| self.history.append(event, now));
        // Only what is written has been said; otherwise it is counted with the next one.
        match written.and_then(|()| self.history.seal_frame(now)) {
            Ok(()) => events.iter().for_each(|event| {
                self.note_gap(event);
                watch(event);
            }),
            Err((unwritten, failure)) => {
                let others = unwritten.saturating_sub(2);
                self.unwritten.add_since(since, count.saturating_add(others), failure.to_string());
                self.counts.history_lost = self.counts.history_lost.saturating_add(others);
            }
        }
    }

    fn keep_own(&mut self, event: &Event, watch: &mut dyn FnMut(&Event)) {
        watch(event);
        self.note_gap(event);
        let outcome = self.history.append(event, Instant::now());
        self.count_unwritten(outcome);
    }
}

impl Unsaid {
    fn add(&mut self, count: u64, words: String) {
        self.add_since(Timestamp::now(), count, words);
    }

    fn add_since(&mut self, since: Timestamp, count: u64, words: String) {
        self.count = self.count.saturating_add(count);
        self.since = Some(self.since.map_or(since, |known| known.min(since)));
        self.last = words;
    }

    /// What there is to say, and since when; afterwards there is nothing.
    fn take(&mut self, place: &str) -> Option<(Loss, Timestamp)> {
        let Self { count, since, last } = std::mem::take(self);
        let since = since?;
        Some((Loss { place: place.to_owned(), count, since, detail: last }, since))
    }
}

/// An executable that is in the stash already is told with the exec itself; how many were (one, or none).
fn name_content(image: &mut Image, kept: &mut Vec<Kept>) -> u64 {
    let is_it = |kept: &Kept| matches!(kept, Kept::Yes(_, stashed) if stashed.executable == image.executable);
    let Some(Kept::Yes(_, stashed)) = kept.iter().position(is_it).map(|at| kept.swap_remove(at)) else {
        return 0;
    };
    (image.sha256, image.size) = (Some(stashed.sha256), Some(stashed.size));
    1
}

/// The recorder's own identity: its start time is read from /proc, so that it is the one the probe sees.
pub(super) fn own_process(proc: &Path, boot: BootId) -> ProcessId {
    let start = std::fs::read(proc.join("self/stat"))
        .ok()
        .and_then(|text| crate::proc::Stat::parse(&text).ok())
        .map_or(0, |stat| stat.start);
    ProcessId { boot, pid: std::process::id(), start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Exit;

    fn own() -> ProcessId {
        ProcessId { boot: BootId([1; 16]), pid: std::process::id(), start: 1 }
    }

    fn event(second: i64, action: Action) -> Event {
        let process = ProcessId { boot: BootId([1; 16]), pid: 4_000_000, start: 5 };
        Event { time: Timestamp::from_second(second).unwrap(), source: Source::Scan, process, action }
    }

    fn log(folder: &tempfile::TempDir) -> gaps::Log {
        gaps::Log::open(gaps::path(folder.path())).unwrap()
    }

    fn history(folder: &Path) -> Vec<Event> {
        let mut events = Vec::new();
        for segment in segment::list(folder).unwrap() {
            segment::read_file(&segment.path, &mut |event| events.push(event)).unwrap();
        }
        events
    }

    #[test]
    fn a_restart_knows_the_dead_and_dates_the_gap() {
        let folder = tempfile::tempdir().unwrap();
        let proc = Path::new("/proc");
        let image = Image { executable: Bytes::from("/tmp/x"), ..Image::default() };
        let mut first = Keeper::restore(
            folder.path(),
            log(&folder),
            proc,
            own(),
            Stash::default(),
            Timestamp::from_second(1).unwrap(),
        )
        .unwrap();
        first.take(event(10, Action::Exec(Box::new(image))), &mut |_| {});
        first.take(event(11, Action::Exit(Exit { code: 7, signal: 0 })), &mut |_| {});
        first.flush(&mut |_| {});
        let lost = history(folder.path()).into_iter().find_map(|event| match event.action {
            Action::Loss(loss) => Some(loss),
            _ => None,
        });
        let lost = lost.expect("the executable of a process that is gone is counted as missed");
        assert_eq!((lost.place.as_str(), lost.count), ("stash", 1));

        let now = Timestamp::now();
        let mut second =
            Keeper::restore(folder.path(), log(&folder), proc, own(), Stash::default(), now).unwrap();
        second.flush(&mut |_| {});
        let id = event(0, Action::Exit(Exit { code: 0, signal: 0 })).process;
        let node = second.tree.get(&id).expect("the dead process");
        assert_eq!(node.image().unwrap().executable, Bytes::from("/tmp/x"));
        assert_eq!(node.exited.as_ref().unwrap().1.code, 7);
        let gap = history(folder.path()).into_iter().find_map(|event| match event.action {
            Action::Gap(gap) => Some((gap.since, event.time)),
            _ => None,
        });
        let (since, until) = gap.expect("a gap");
        assert!(since >= Timestamp::from_second(11).unwrap() && until == now);
    }
}
