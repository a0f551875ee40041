//! Repeats are one event: a deed is told at once, and what is like it within a second is counted and told at its end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::event::ProcessId;
use crate::event::touch::Touch;

/// How long repeats are counted.
const SPAN: Duration = Duration::from_secs(1);
/// Different deeds at once; what is beyond is lost, and counted.
const DEEDS_MAX: usize = 512;

/// A deed and who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// When it was read.
    pub time: Timestamp,
    /// Who; `None` where that is not known.
    pub process: Option<ProcessId>,
    /// What.
    pub touch: Touch,
}

/// What was told within the last second.
#[derive(Debug, Default)]
pub struct Sieve {
    told: HashMap<Key, Repeats>,
    lost: u64,
}

type Key = (Option<ProcessId>, crate::event::touch::Deed, crate::text::Bytes);

#[derive(Debug)]
struct Repeats {
    until: Instant,
    last: Option<Done>,
}

impl Sieve {
    /// Takes in one deed; gives it back where it is to be told now.
    pub fn take(&mut self, now: Instant, done: Done) -> Option<Done> {
        let key = (done.process, done.touch.deed, done.touch.path.clone());
        if let Some(repeats) = self.told.get_mut(&key) {
            let count = repeats.last.as_ref().map_or(0, |last| last.touch.count);
            // A truncation is from the size before the first one to the size after the last.
            let before = repeats.last.as_ref().map_or(done.touch.before, |last| last.touch.before);
            let touch = Touch { count: count.saturating_add(done.touch.count), before, ..done.touch };
            repeats.last = Some(Done { touch, ..done });
            return None;
        }
        if self.told.len() >= DEEDS_MAX {
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        self.told.insert(key, Repeats { until: now + SPAN, last: None });
        Some(done)
    }

    /// Those whose second is over, in the order of their time.
    pub fn due(&mut self, now: Instant) -> Vec<Done> {
        let mut due = Vec::new();
        self.told.retain(|_, repeats| {
            if repeats.until > now {
                return true;
            }
            let last = repeats.last.take();
            repeats.until = now + SPAN;
            let goes_on = last.is_some();
            due.extend(last);
            goes_on
        });
        due.sort_by_key(|done| done.time);
        due
    }

    /// How many were lost since the last call.
    pub fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BootId;
    use crate::event::touch::{Deed, Place};
    use crate::text::Bytes;

    fn done(pid: u32, path: &str) -> Done {
        let touch = Touch {
            deed: Deed::Written,
            place: Place::Persistence,
            path: Bytes::from(path),
            before: None,
            after: None,
            count: 1,
            writers: None,
            unknown: false,
        };
        let process = Some(ProcessId { boot: BootId([1; 16]), pid, start: 1 });
        Done { time: Timestamp::from_second(1).unwrap(), process, touch }
    }

    #[test]
    fn the_first_is_told_at_once_and_its_repeats_once_a_second() {
        let (mut sieve, begun) = (Sieve::default(), Instant::now());
        assert!(sieve.take(begun, done(1, "a")).is_some());
        for _ in 0..1000 {
            assert_eq!(sieve.take(begun, done(1, "a")), None);
        }
        assert!(sieve.take(begun, done(2, "a")).is_some() && sieve.take(begun, done(1, "b")).is_some());
        assert!(sieve.due(begun).is_empty());
        let due = sieve.due(begun + SPAN);
        assert_eq!(due.iter().map(|done| done.touch.count).collect::<Vec<_>>(), [1000]);
        assert_eq!(sieve.take(begun + SPAN, done(1, "a")), None);
        assert_eq!(sieve.due(begun + SPAN * 2).len(), 1);
        assert!(sieve.due(begun + SPAN * 3).is_empty());
        assert!(sieve.take(begun + SPAN * 3, done(1, "a")).is_some());
    }

    #[test]
    fn too_many_different_ones_are_counted_and_memory_is_bounded() {
        let (mut sieve, begun) = (Sieve::default(), Instant::now());
        let told = (0..10_000).filter(|at| sieve.take(begun, done(1, &at.to_string())).is_some()).count();
        let lost = usize::try_from(sieve.lost()).unwrap();
        assert_eq!((told, lost, sieve.lost()), (DEEDS_MAX, 10_000 - DEEDS_MAX, 0));
        sieve.due(begun + SPAN);
        assert!(sieve.take(begun + SPAN, done(1, "again")).is_some());
    }
}
