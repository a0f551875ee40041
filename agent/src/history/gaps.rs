//! Gaps and losses of the past, in a file of their own: every later capture must name those that touch its window, also
//! after a restart, and without reading all of the history.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::event::{Action, Event};

/// How many are remembered; a host that loses more often than this has other worries.
const MOST: usize = 4096;
/// The longest file that is read back: so many lines of ordinary length.
const LONGEST: u64 = 8 << 20;

/// Why the file could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} the list of gaps {path}: {source}")]
pub struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The list, in memory and on disk.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    recent: VecDeque<Event>,
    lines: usize,
}

impl Log {
    /// Reads the list back; what cannot be read of it is left out.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let mut log = Self { path, recent: VecDeque::new(), lines: 0 };
        match File::open(&log.path) {
            Ok(file) => log.read(file),
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(log.error("open", source)),
        }
        Ok(log)
    }

    fn read(&mut self, file: impl Read) {
        for line in BufReader::new(file.take(LONGEST)).split(b'\n').map_while(Result::ok) {
            self.lines = self.lines.saturating_add(1);
            if let Ok(event) = serde_json::from_slice(&line) {
                self.remember(event);
            }
        }
    }

    /// Adds a gap or a loss; other events are none of its business.
    pub fn add(&mut self, event: &Event) -> Result<(), Error> {
        if span(event).is_none() {
            return Ok(());
        }
        self.remember(event.clone());
        if self.lines >= MOST * 2 {
            return self.rewrite();
        }
        self.lines = self.lines.saturating_add(1);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(&line(event)?));
        written.map_err(|source| self.error("write", source))
    }

    /// Those that touch the time from `since` to `until`, oldest first.
    pub fn within(&self, since: Timestamp, until: Timestamp) -> Vec<Event> {
        let touches =
            |event: &&Event| span(event).is_some_and(|begins| begins <= until && event.time >= since);
        self.recent.iter().filter(touches).cloned().collect()
    }

    fn remember(&mut self, event: Event) {
        if self.recent.len() >= MOST {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
    }

    fn rewrite(&mut self) -> Result<(), Error> {
        let new = self.path.with_extension("new");
        let mut text = Vec::new();
        for event in &self.recent {
            text.extend(line(event).map_err(|source| self.error("write", source))?);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let written = file.and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written
            .and_then(|()| std::fs::rename(&new, &self.path))
            .map_err(|source| self.error("rewrite", source))?;
        self.lines = self.recent.len();
        Ok(())
    }

    fn error(&self, step: &'static str, source: io::Error) -> Error {
        Error { step, path: self.path.clone(), source }
    }
}

fn line(event: &Event) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}

/// The beginning of a gap or a loss; `None` for what is neither.
fn span(event: &Event) -> Option<Timestamp> {
    match &event.action {
        Action::Gap(gap) => Some(gap.since),
        // An executable that is not in the stash is no lost event.
        Action::Loss(loss) if loss.place != "stash" => Some(loss.since),
        _ => None,
    }
}

/// Where the list is, below the agent's folder of state.
pub fn path(state: &Path) -> PathBuf {
    state.join("gaps.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BootId, Exit, Gap, ProcessId, Source};

    fn event(time: i64, action: Action) -> Event {
        let process = ProcessId { boot: BootId([0; 16]), pid: 1, start: 1 };
        Event { time: Timestamp::from_second(time).unwrap(), source: Source::Agent, process, action }
    }

    fn gap(since: i64, until: i64) -> Event {
        let since = Timestamp::from_second(since).unwrap();
        event(until, Action::Gap(Gap { since, reason: "x".to_owned() }))
    }

    #[test]
    fn gaps_that_touch_a_time_are_found_also_after_a_restart_and_beside_damage() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(path(folder.path())).unwrap();
        for event in [gap(10, 20), event(25, Action::Exit(Exit { code: 0, signal: 0 })), gap(30, 40)] {
            log.add(&event).unwrap();
        }
        OpenOptions::new().append(true).open(path(folder.path())).unwrap().write_all(b"{\"half").unwrap();
        let log = Log::open(path(folder.path())).unwrap();
        let second = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(log.within(second(0), second(9)), []);
        assert_eq!(log.within(second(0), second(10)), [gap(10, 20)]);
        assert_eq!(log.within(second(20), second(35)), [gap(10, 20), gap(30, 40)]);
        assert_eq!(log.within(second(41), second(99)), []);
    }

    #[test]
    fn the_list_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(path(folder.path())).unwrap();
        for number in 0..i64::try_from(MOST * 2 + 10).unwrap() {
            log.add(&gap(number, number)).unwrap();
        }
        let text = std::fs::read_to_string(path(folder.path())).unwrap();
        assert_eq!(text.lines().count(), MOST + 9);
        assert_eq!(Log::open(path(folder.path())).unwrap().recent.len(), MOST);
    }
}
