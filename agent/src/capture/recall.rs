//! What of the history one trigger needs: whom it may mean, their lineage, and what was last; not all there is.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::event::{Event, ProcessId};
use crate::history::index::Line;
use crate::history::query::{Library, Place};
use crate::history::segment::Error;
use crate::history::tree::{Bounds, Tree};
use crate::trigger::{Trigger, resolve, terms};

/// Frames that are read to find whom a trigger means, the likeliest first.
const CANDIDATES_MAX: usize = 512;
/// The newest frames are read whole until so many processes are known, or this time is over: the shorter one where the
/// family of a target has been read already.
const NEWEST: usize = 50_000;
const NEWEST_TIME: Duration = Duration::from_secs(5);
const NEWEST_TIME_BESIDES: Duration = Duration::from_millis(500);

/// What was found.
pub struct Recalled {
    /// The processes that matter, as far as the history knows them.
    pub tree: Tree,
    /// Whom the trigger means.
    pub targets: Vec<ProcessId>,
    /// What was not read, in words.
    pub unread: Vec<String>,
}

/// What is asked for.
pub struct Question<'a> {
    /// The history's folder.
    pub folder: &'a Path,
    /// What the trigger says.
    pub trigger: &'a Trigger,
    /// Whom the recorder has found already.
    pub targets: &'a [ProcessId],
    /// What is living now, as /proc says.
    pub running: &'a [Event],
    /// How far back.
    pub since: Timestamp,
    /// When the trigger was accepted.
    pub now: Timestamp,
}

/// Reads what `question` needs, what is most important first, until `deadline`.
pub fn recall(question: &Question<'_>, deadline: Instant) -> Result<Recalled, Error> {
    let library = Library::open(question.folder, question.since)?;
    let tree = Tree::new(Bounds::COLLECTOR);
    let mut reader = Reader { library: &library, tree, read: HashSet::new(), deadline, unread: Vec::new() };
    reader.unread.extend(library.unreadable.iter().cloned());
    reader.whole("that may be of whom the trigger means", &candidates(&library, question));

    let mut targets = question.targets.to_vec();
    let found = resolve::resolve(question.trigger, &reader.tree, question.now);
    targets.extend(found.into_iter().map(|found| found.process));
    let mut known = HashSet::new();
    targets.retain(|target| known.insert(*target));

    let mut family = library.descendants(&known);
    family.extend(library.ancestors(&known).values());
    let mut places = library.of(&family);
    places.reverse();
    reader.some("of the family of whom the trigger means", &places, &family);

    let living: HashSet<ProcessId> = question.running.iter().map(|event| event.process).collect();
    let mut lines = library.ancestors(&living);
    lines.retain(|child, _| !family.contains(child));
    let born: HashSet<ProcessId> = living.iter().chain(lines.values()).copied().collect();
    let mut places = library.born(&born);
    places.reverse();
    reader.some("with the births of what is running", &places, &born);
    for event in question.running {
        reader.tree.apply(event);
    }
    reader.newest(if targets.is_empty() { NEWEST_TIME } else { NEWEST_TIME_BESIDES });
    let Reader { tree, unread, .. } = reader;
    Ok(Recalled { tree, targets, unread })
}

/// The frames in which those may be whom a trigger means: first where most and the rarest words are, of these the
/// nearest to the alert.
fn candidates(library: &Library, question: &Question<'_>) -> Vec<Place> {
    let target = &question.trigger.target;
    let mut hits = library.with(&terms::terms(target));
    hits.extend(target.pid.map(|pid| library.of(&library.with_pid(pid))));
    let mut worth: HashMap<Place, u64> = HashMap::new();
    for places in &hits {
        let rare = 1_000_000 / u64::try_from(places.len().max(1)).unwrap_or(u64::MAX);
        for place in places {
            *worth.entry(*place).or_default() += rare.max(1);
        }
    }
    let time = question.trigger.time.unwrap_or(question.now);
    let apart = |place: &Place| {
        let (first, last) = library.span(*place).unwrap_or_default();
        (first.duration_since(time).max(time.duration_since(last))).as_secs().max(0)
    };
    let mut places: Vec<_> = worth
        .into_iter()
        .map(|(place, worth)| (std::cmp::Reverse(worth), apart(&place), std::cmp::Reverse(place)))
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, _, std::cmp::Reverse(place))| place).collect()
}

struct Reader<'l> {
    library: &'l Library,
    tree: Tree,
    /// Frames that were read whole.
    read: HashSet<Place>,
    deadline: Instant,
    unread: Vec<String>,
}

impl Reader<'_> {
    /// Reads whole frames.
    fn whole(&mut self, what: &str, places: &[Place]) {
        let (mut read, deadline) = (0, self.deadline);
        for place in places.iter().take(CANDIDATES_MAX).take_while(|_| Instant::now() < deadline) {
            self.frame(*place, &|_| true);
            self.read.insert(*place);
            read += 1;
        }
        self.say_unread(what, read, places.len());
    }

    /// Reads the events of `wanted`.
    fn some(&mut self, what: &str, places: &[Place], wanted: &HashSet<ProcessId>) {
        let (mut read, deadline) = (0, self.deadline);
        for place in places.iter().take_while(|_| Instant::now() < deadline) {
            if !self.read.contains(place) {
                self.frame(*place, &|line| wanted.contains(&line.process));
            }
            read += 1;
        }
        self.say_unread(what, read, places.len());
    }

    /// Reads what was last, whoever it was.
    fn newest(&mut self, time: Duration) {
        let enough = self.deadline.min(Instant::now() + time);
        for place in self.library.between(Timestamp::MIN, Timestamp::MAX).into_iter().rev() {
            if self.tree.len() >= NEWEST || Instant::now() >= enough {
                return;
            }
            if self.read.insert(place) {
                self.frame(place, &|_| true);
            }
        }
    }

    fn frame(&mut self, place: Place, wanted: &dyn Fn(&Line<'_>) -> bool) {
        let tree = &mut self.tree;
        if let Err(failure) = self.library.read(place, wanted, &mut |event| tree.apply(&event)) {
            self.unread.push(failure.to_string());
        }
    }

    fn say_unread(&mut self, what: &str, read: usize, all: usize) {
        if read < all {
            let left = all.saturating_sub(read);
            self.unread.push(format!("{left} of {all} frames {what} were too much for the time"));
        }
    }
}

#[cfg(test)]
#[path = "recall_test.rs"]
mod tests;
