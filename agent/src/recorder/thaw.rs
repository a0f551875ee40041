//! The recorder's part in letting go whom the probe has stopped, and its thawer.

use std::path::Path;
use std::time::Instant;

use super::helper::Helper;
use crate::event::{Action, Event, Hold, ProcessId};
use crate::ipc::{self, Channel};
use crate::kernel::Probe;
use crate::thaw::{self, Held};

/// The list of who is stopped, and the process that looks after it too.
pub(super) struct Thaw {
    held: Option<Held>,
    helper: Helper,
    channel: Option<Channel>,
}

impl Thaw {
    /// Lets go what an earlier recorder left, and starts the thawer. Without a probe nobody is stopped.
    pub(super) fn open(probe: Option<&Probe>, proc: &Path) -> Self {
        let left = thaw::release_left_behind(proc);
        if left > 0 {
            tracing::warn!(left, "processes that an earlier recorder had stopped were let go");
        }
        let held = probe.and_then(|probe| match probe.held().map_err(Into::into).and_then(Held::open) {
            Ok(held) => Some(held),
            Err(failure) => {
                tracing::error!("{failure}; what is stopped is let go by the thawer only");
                None
            }
        });
        let mut thaw = Self { held, helper: Helper::survivor("thawer"), channel: None };
        if let Some(probe) = probe {
            thaw.start(probe);
        }
        thaw
    }

    /// Lets a process go.
    pub(super) fn release(&mut self, process: ProcessId) {
        if let Some(held) = &mut self.held {
            held.release(process);
        }
    }

    /// Starts a thawer that has ended again.
    pub(super) fn look_after(&mut self, probe: &Probe, now: Instant) {
        let runs = self
            .channel
            .as_ref()
            .is_some_and(|channel| matches!(channel.try_recv::<()>(), Err(ipc::Error::WouldBlock)));
        if !runs && self.helper.may_start(now) {
            self.start(probe);
        }
    }

    fn start(&mut self, probe: &Probe) {
        match probe.held() {
            Ok(list) => self.channel = self.helper.start_with(Some(list)),
            Err(failure) => tracing::error!("the thawer cannot be started: {failure}"),
        }
    }
}

/// The process of `event`, if it was stopped for it.
pub(super) fn stopped(event: &Event) -> Option<ProcessId> {
    match &event.action {
        Action::Exec(image) if image.hold == Some(Hold::Stopped) => Some(event.process),
        _ => None,
    }
}
