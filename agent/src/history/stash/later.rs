//! Processes that are to be looked at a moment after their exec, when their shared objects are mapped. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::event::ProcessId;

/// The loader has done its work by then.
const MOMENT: Duration = Duration::from_millis(200);
/// Processes that wait; more are not looked at.
const MOST: usize = 4096;

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Later {
    order: VecDeque<(Instant, u32)>,
    waiting: HashMap<u32, ProcessId>,
}

impl Later {
    pub(super) fn insert(&mut self, process: ProcessId, now: Instant) {
        if self.order.len() < MOST {
            self.order.push_back((now + MOMENT, process.pid));
            self.waiting.insert(process.pid, process);
        }
    }

    /// It ended: there is nothing to look at.
    pub(super) fn ended(&mut self, pid: u32) {
        self.waiting.remove(&pid);
    }

    /// The next one whose moment has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<ProcessId> {
        while let Some((_, pid)) = self.order.pop_front_if(|(due, _)| *due <= now) {
            if let Some(process) = self.waiting.remove(&pid) {
                return Some(process);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BootId;

    fn process(pid: u32) -> ProcessId {
        ProcessId { boot: BootId::default(), pid, start: 1 }
    }

    #[test]
    fn those_that_live_are_looked_at_once_and_in_time() {
        let (mut later, now) = (Later::default(), Instant::now());
        for pid in [1, 2, 3, 3] {
            later.insert(process(pid), now);
        }
        later.ended(2);
        assert_eq!(later.due(now), None);
        let then = now + MOMENT;
        assert_eq!(
            [later.due(then), later.due(then), later.due(then)],
            [Some(process(1)), Some(process(3)), None]
        );
    }

    #[test]
    fn it_is_bounded() {
        let (mut later, now) = (Later::default(), Instant::now());
        (0..10_000).for_each(|pid| later.insert(process(pid), now));
        assert!(later.order.len() <= MOST && later.waiting.len() <= MOST);
    }
}
