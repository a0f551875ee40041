//! While ring and stash have room, the work of recording yields to that of the host: a burst is taken in by the ring, and
//! worked off when there is time. When they fill, it does not yield.

use std::time::{Duration, Instant};

use crate::system::priority::set_nice;

/// How much recorder and stasher yield.
const YIELD: i32 = 10;
/// How long it must have been calm.
const CALM: Duration = Duration::from_secs(1);

/// What is in force.
pub(super) struct Yielding {
    nice: Option<i32>,
    pressed: Option<Instant>,
}

impl Yielding {
    pub(super) fn new() -> Self {
        Self { nice: None, pressed: None }
    }

    /// Whether ring or stash are `pressed` now; the stasher has this pid.
    pub(super) fn look(&mut self, now: Instant, pressed: bool, stasher: Option<u32>) {
        if pressed {
            self.pressed = Some(now);
        }
        let is_calm = self.pressed.is_none_or(|pressed| now.saturating_duration_since(pressed) > CALM);
        let nice = if is_calm { YIELD } else { 0 };
        if self.nice == Some(nice) {
            return;
        }
        self.nice = Some(nice);
        for pid in [None].into_iter().chain(stasher.map(Some)) {
            // Without CAP_SYS_NICE one who has yielded cannot take it back: then it stays so.
            if let Err(failure) = set_nice(pid, nice) {
                tracing::debug!(nice, "the priority cannot be set: {failure}");
            }
        }
    }
}
