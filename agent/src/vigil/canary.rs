//! The canary: a child of our own that does one of each thing the probe shows. What does not come back is not seen.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::event::{Action, Event, ProcessId, Source};

/// How long its events may be on their way after its end.
const PATIENCE: Duration = Duration::from_secs(3);

/// What it does, by the probe's kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Song {
    /// It is born.
    Fork,
    /// It runs a program.
    Exec,
    /// It listens.
    Listen,
    /// It connects to itself.
    Connect,
    /// It accepts that.
    Accept,
    /// It sends a datagram.
    Datagram,
    /// It ends.
    Exit,
}

impl Song {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Fork, Self::Exec, Self::Listen, Self::Connect, Self::Accept, Self::Datagram, Self::Exit];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Fork => "processes created",
            Self::Exec => "programs executed",
            Self::Listen => "TCP sockets that listen",
            Self::Connect => "TCP connections asked for",
            Self::Accept => "TCP connections accepted",
            Self::Datagram => "UDP to new peers",
            Self::Exit => "processes ended",
        }
    }

    fn of(action: &Action) -> Option<Self> {
        Some(match action {
            Action::Fork(_) => Self::Fork,
            Action::Exec(_) => Self::Exec,
            Action::Listen(_) => Self::Listen,
            Action::Connect(_) => Self::Connect,
            Action::Accept(_) => Self::Accept,
            Action::Datagram(_) => Self::Datagram,
            Action::Exit(_) => Self::Exit,
            _ => return None,
        })
    }
}

/// What became of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was expected came back.
    Well,
    /// These did not.
    Missing(BTreeSet<Song>),
}

/// One canary.
#[derive(Debug)]
pub struct Canary {
    pid: u32,
    process: Option<ProcessId>,
    expected: BTreeSet<Song>,
    came: BTreeSet<Song>,
    ended: Option<Instant>,
}

impl Canary {
    /// A child with this pid was started; of what it does, `expected` can be seen.
    pub fn started(pid: u32, expected: BTreeSet<Song>) -> Self {
        Self { pid, process: None, expected, came: BTreeSet::new(), ended: None }
    }

    /// Whether `event`, seen since the start, tells of it.
    pub fn hear(&mut self, event: &Event) -> bool {
        let is_ours = match self.process {
            Some(process) => event.process == process,
            None => event.process.pid == self.pid && matches!(event.source, Source::Probe { .. }),
        };
        if is_ours {
            self.process = Some(event.process);
            self.came.extend(Song::of(&event.action));
        }
        is_ours
    }

    /// It ended at `now`; what it says that it could not do is not expected.
    pub fn ended(&mut self, could_not: &[Song], now: Instant) {
        self.ended.get_or_insert(now);
        self.expected.retain(|song| !could_not.contains(song));
    }

    /// At `now` records that came before its own may still wait to be read: they are waited for anew.
    pub fn wait_on(&mut self, now: Instant) {
        if let Some(ended) = &mut self.ended {
            *ended = now;
        }
    }

    /// Whether it is seen well; `None` while its events may still be on their way.
    pub fn verdict(&self, now: Instant) -> Option<Verdict> {
        let ended = self.ended?;
        if self.expected.is_subset(&self.came) {
            return Some(Verdict::Well);
        }
        let missing = self.expected.difference(&self.came).copied().collect();
        (now.saturating_duration_since(ended) >= PATIENCE).then_some(Verdict::Missing(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BootId, Exit, Fork};
    use crate::text::Bytes;

    fn event(pid: u32, start: u64, action: Action) -> Event {
        let process = ProcessId { boot: BootId([0; 16]), pid, start };
        Event { time: jiff::Timestamp::UNIX_EPOCH, source: Source::Probe { cpu: 0, seq: 0 }, process, action }
    }

    fn fork() -> Action {
        Action::Fork(Fork { parent: None, name: Bytes::default() })
    }

    fn exit() -> Action {
        Action::Exit(Exit { code: 0, signal: 0 })
    }

    #[test]
    fn it_is_well_when_all_came_back_and_only_then() {
        let now = Instant::now();
        let mut canary = Canary::started(5, BTreeSet::from([Song::Fork, Song::Exit, Song::Datagram]));
        assert!(!canary.hear(&event(6, 1, fork())));
        assert!(canary.hear(&event(5, 1, fork())));
        assert!(!canary.hear(&event(5, 2, exit())), "another process with its pid");
        assert_eq!(canary.verdict(now + PATIENCE * 2), None, "it has not ended");
        canary.ended(&[Song::Datagram], now);
        assert_eq!(canary.verdict(now), None);
        assert!(canary.hear(&event(5, 1, exit())));
        assert_eq!(canary.verdict(now), Some(Verdict::Well));
    }

    #[test]
    fn while_the_reader_is_behind_nothing_is_missing() {
        let now = Instant::now();
        let mut canary = Canary::started(5, BTreeSet::from([Song::Fork]));
        canary.wait_on(now);
        canary.ended(&[], now);
        canary.wait_on(now + PATIENCE);
        assert_eq!(canary.verdict(now + PATIENCE), None);
        assert!(canary.hear(&event(5, 1, fork())));
        assert_eq!(canary.verdict(now + PATIENCE), Some(Verdict::Well));
    }

    #[test]
    fn what_does_not_come_back_in_time_is_missing() {
        let now = Instant::now();
        let mut canary = Canary::started(5, BTreeSet::from([Song::Fork, Song::Exec]));
        canary.hear(&event(5, 1, fork()));
        canary.ended(&[], now);
        assert_eq!(canary.verdict(now + PATIENCE / 2), None);
        assert_eq!(canary.verdict(now + PATIENCE), Some(Verdict::Missing(BTreeSet::from([Song::Exec]))));
    }
}
