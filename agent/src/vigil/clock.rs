//! Times between two looks of the recorder: one that is too long was a standstill, and a wall clock that moved against
//! the boot-time clock was stepped.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A turn of the recorder takes milliseconds; longer than this it was stopped, frozen, or had no cpu.
const STANDSTILL: Duration = Duration::from_secs(2);
/// NTP slews by less than this between two looks; what is more was a step.
const STEP: SignedDuration = SignedDuration::from_millis(500);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_REALTIME`.
    pub wall: Timestamp,
    /// `CLOCK_BOOTTIME`, suspended time included.
    pub boot: Duration,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// The recorder stood still for so long, up to now.
    Standstill(Duration),
    /// The wall clock was moved by so much (forwards when positive).
    Stepped(SignedDuration),
}

/// Remembers the last look.
#[derive(Debug)]
pub struct Watch {
    last: Clocks,
}

impl Watch {
    /// Begins to look at `now`.
    pub fn new(now: Clocks) -> Self {
        Self { last: now }
    }

    /// Compares `now` with the last look.
    pub fn look(&mut self, now: Clocks) -> Vec<Odd> {
        let before = std::mem::replace(&mut self.last, now);
        let passed = now.boot.saturating_sub(before.boot);
        let mut odd = Vec::new();
        if passed >= STANDSTILL {
            odd.push(Odd::Standstill(passed));
        }
        let expected = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let step = now.wall.duration_since(before.wall).saturating_sub(expected);
        if step.abs() >= STEP {
            odd.push(Odd::Stepped(step));
        }
        odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, boot: u64) -> Clocks {
        Clocks { wall: Timestamp::from_millisecond(wall).unwrap(), boot: Duration::from_millis(boot) }
    }

    #[test]
    fn what_goes_on_evenly_is_not_odd() {
        let mut watch = Watch::new(at(5_000_000, 100));
        assert_eq!(watch.look(at(5_000_250, 350)), []);
        assert_eq!(watch.look(at(5_002_240, 2_340)), []);
        // A clock that is slewed.
        assert_eq!(watch.look(at(5_003_600, 3_340)), []);
    }

    #[test]
    fn a_standstill_and_steps_both_ways_are_told() {
        let mut watch = Watch::new(at(5_000_000, 0));
        assert_eq!(watch.look(at(5_005_000, 5_000)), [Odd::Standstill(Duration::from_secs(5))]);
        assert_eq!(watch.look(at(8_605_010, 5_010)), [Odd::Stepped(SignedDuration::from_secs(3_600))]);
        assert_eq!(watch.look(at(8_605_020, 5_020)), []);
        assert_eq!(
            watch.look(at(3_000, 9_020)),
            [
                Odd::Standstill(Duration::from_secs(4)),
                Odd::Stepped(SignedDuration::from_millis(3_000 - 8_605_020 - 4_000)),
            ]
        );
    }
}
