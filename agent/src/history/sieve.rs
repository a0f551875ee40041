//! Which calls are worth keeping: a busy host renames, deletes and makes executable all day long. Kept is what concerns
//! a program that is run: a rename or a chmod waits until its file is executed, a deletion counts where the file was.
//! Pure.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::event::call::{Call, What};
use crate::event::{Event, Image};
use crate::text::Bytes;

/// Files whose renames and chmods wait.
const WAITING: usize = 4096;
/// Of one file, the last ones.
const OF_ONE: usize = 4;
/// Files that were executed lately, in two generations of this size.
const EXECUTED: usize = 4096;

/// What waits, and what was executed.
#[derive(Debug, Default)]
pub struct Sieve {
    waiting: HashMap<Bytes, Vec<Event>>,
    order: VecDeque<Bytes>,
    executed: [HashSet<Bytes>; 2],
}

impl Sieve {
    /// A call was made by a process whose effective user was `uid` as far as is known; whether to keep it now.
    pub fn call(&mut self, event: &Event, call: &Call, uid: Option<u32>) -> bool {
        match call.what {
            What::Chmod => {
                self.wait(call.path.clone(), vec![event.clone()]);
                false
            }
            What::Rename => {
                // The name of a program that ran goes elsewhere, or is taken by another file.
                let now = self.was_executed(&call.path) || self.was_executed(&call.target);
                let mut way = self.waiting.remove(&call.path).unwrap_or_default();
                if !now {
                    way.push(event.clone());
                }
                self.wait(call.target.clone(), way);
                now
            }
            What::Unlink => {
                let now = self.was_executed(&call.path);
                // It may be about to be told that it is run: the exec can have begun before.
                if !now && self.waiting.contains_key(&call.path) {
                    self.wait(call.path.clone(), vec![event.clone()]);
                }
                now
            }
            What::BecomeRoot => uid != Some(0),
            _ => true,
        }
    }

    /// A program is executed: what was done to its file before.
    pub fn exec(&mut self, image: &Image) -> Vec<Event> {
        let mut way = Vec::new();
        for path in [&image.executable, &image.filename] {
            if path.is_empty() {
                continue;
            }
            way.extend(self.waiting.remove(path).unwrap_or_default());
            let [newer, older] = &mut self.executed;
            if !newer.contains(path) {
                if newer.len() >= EXECUTED {
                    *older = std::mem::take(newer);
                }
                newer.insert(path.clone());
            }
        }
        way
    }

    fn was_executed(&self, path: &Bytes) -> bool {
        self.executed.iter().any(|generation| generation.contains(path))
    }

    fn wait(&mut self, path: Bytes, events: Vec<Event>) {
        while self.waiting.len() >= WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
        if self.order.len() >= WAITING * 2 {
            self.order.retain(|path| self.waiting.contains_key(path));
        }
        if events.is_empty() {
            return;
        }
        let way = self.waiting.entry(path.clone()).or_default();
        if way.is_empty() {
            self.order.push_back(path);
        }
        way.extend(events);
        let more = way.len().saturating_sub(OF_ONE);
        way.drain(..more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, BootId, ProcessId, Source};

    fn call(what: What, path: &str, target: &str) -> (Event, Call) {
        let call = Call { what, path: path.into(), target: target.into(), number: None, compat: false };
        let process = ProcessId { boot: BootId([0; 16]), pid: 1, start: 1 };
        let action = Action::Call(Box::new(call.clone()));
        let time = jiff::Timestamp::UNIX_EPOCH;
        (Event { time, source: Source::Agent, process, action }, call)
    }

    fn pass(sieve: &mut Sieve, what: What, path: &str, target: &str) -> bool {
        let (event, call) = call(what, path, target);
        sieve.call(&event, &call, Some(33))
    }

    fn image(path: &str) -> Image {
        Image { executable: path.into(), ..Image::default() }
    }

    #[test]
    fn what_was_done_to_a_file_is_told_when_it_is_run_along_its_renames() {
        let mut sieve = Sieve::default();
        assert!(!pass(&mut sieve, What::Chmod, "/tmp/a", ""));
        assert!(!pass(&mut sieve, What::Rename, "/tmp/a", "/tmp/b"));
        assert!(!pass(&mut sieve, What::Rename, "/tmp/other", "/tmp/never"));
        let way = sieve.exec(&image("/tmp/b"));
        assert_eq!(way, [call(What::Chmod, "/tmp/a", "").0, call(What::Rename, "/tmp/a", "/tmp/b").0]);
        assert!(sieve.exec(&image("/tmp/b")).is_empty());
    }

    #[test]
    fn a_deletion_counts_where_the_file_was_run() {
        let mut sieve = Sieve::default();
        assert!(!pass(&mut sieve, What::Unlink, "/tmp/x", ""));
        sieve.exec(&image("/tmp/x"));
        assert!(pass(&mut sieve, What::Unlink, "/tmp/x", ""));
    }

    #[test]
    fn a_file_that_is_deleted_while_it_is_being_run_keeps_its_story() {
        let mut sieve = Sieve::default();
        pass(&mut sieve, What::Chmod, "/tmp/x", "");
        assert!(!pass(&mut sieve, What::Unlink, "/tmp/x", ""));
        let way = sieve.exec(&image("/tmp/x"));
        assert_eq!(way, [call(What::Chmod, "/tmp/x", "").0, call(What::Unlink, "/tmp/x", "").0]);
        // What is told at once is not told again with the next exec.
        assert!(pass(&mut sieve, What::Rename, "/tmp/y", "/tmp/x"));
        assert!(sieve.exec(&image("/tmp/x")).is_empty());
    }

    #[test]
    fn root_that_stays_root_is_no_news() {
        let mut sieve = Sieve::default();
        let (event, become_root) = call(What::BecomeRoot, "", "");
        assert!(!sieve.call(&event, &become_root, Some(0)));
        assert!(sieve.call(&event, &become_root, Some(33)) && sieve.call(&event, &become_root, None));
        assert!(pass(&mut sieve, What::Ptrace, "", ""));
    }

    #[test]
    fn a_flood_of_renames_is_bounded() {
        let mut sieve = Sieve::default();
        for number in 0..3 * WAITING {
            pass(&mut sieve, What::Rename, "/a", &format!("/{number}"));
            pass(&mut sieve, What::Chmod, "/b", "");
            sieve.exec(&image(&format!("/e{number}")));
        }
        assert!(sieve.waiting.len() <= WAITING && sieve.order.len() <= WAITING * 2);
        assert!(sieve.waiting.values().all(|way| way.len() <= OF_ONE));
        assert!(sieve.executed.iter().all(|generation| generation.len() <= EXECUTED));
    }
}
