//! What the guard holds for us.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guard::{Guard, Hold};

/// Held until it is released or dropped, and at the latest until the time agreed with the guard.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Arc<Guard>,
    hold: Hold,
    object: OwnedFd,
    since: Instant,
    released: Option<Duration>,
}

impl Guarded {
    /// Has `object` stopped for `pause` at most.
    pub(super) fn begin(
        guard: Arc<Guard>,
        hold: Hold,
        object: OwnedFd,
        pause: Duration,
    ) -> Result<Self, String> {
        let since = Instant::now();
        let outcome = guard.hold(hold, object.as_fd(), pause);
        let mut guarded = Self { guard, hold, object, since, released: None };
        outcome.map_err(|failure| {
            guarded.release();
            failure.to_string()
        })?;
        Ok(guarded)
    }

    /// Lets it go; for how long it was held.
    pub(super) fn release(&mut self) -> Duration {
        if let Some(time) = self.released {
            return time;
        }
        let time = match self.guard.release() {
            Ok(released) => released.time,
            // The guard is gone: then it is ours to do.
            Err(failure) => {
                tracing::warn!("{failure}; what it held is let go without it");
                if let Err(failure) = self.hold.end(self.object.as_fd()) {
                    tracing::error!(hold = ?self.hold, "cannot let go what was held: {failure}");
                }
                self.since.elapsed()
            }
        };
        *self.released.insert(time)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.release();
    }
}
