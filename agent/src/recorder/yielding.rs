//! While ring and stash have room, the work of recording yields to that of the host: a burst is taken in by the ring, and
//! worked off when there is time. When they fill, it does not yield.

use std::time::{Duration, Instant};

use crate::system::priority::set_idle;

/// How long it must have been calm.
const CALM: Duration = Duration::from_secs(1);

/// What is in force.
pub(super) struct Yielding {
    idle: Option<bool>,
    pressed: Option<Instant>,
}

impl Yielding {
    pub(super) fn new() -> Self {
        Self { idle: None, pressed: None }
    }

    /// Whether ring or stash are `pressed` now.
    pub(super) fn look(&mut self, now: Instant, pressed: bool) {
        if pressed {
            self.pressed = Some(now);
        }
        let idle = self.pressed.is_none_or(|pressed| now.saturating_duration_since(pressed) > CALM);
        if self.idle == Some(idle) {
            return;
        }
        self.idle = Some(idle);
        // Without CAP_SYS_NICE one who has yielded cannot take it back: then it stays so.
        if let Err(failure) = set_idle(None, idle) {
            tracing::debug!(idle, "the priority cannot be set: {failure}");
        }
    }
}
