//! Where events come from: the probe, a first look at /proc, and the stasher's answers.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Error;
use super::helper::Helper;
use super::keeper::{self, Keeper};
use super::thaw::Thaw;
use super::vigil::Vigil;
use crate::config::Config;
use crate::event::{Action, BootId, Event, Gap};
use crate::history::gaps;
use crate::kernel::{self, Probe};

/// How often losses are asked for.
const LOSSES: Duration = Duration::from_millis(500);

/// Probe and keeper.
pub(super) struct Sight {
    /// What becomes of an event.
    pub(super) keeper: Keeper,
    probe: Result<Probe, String>,
    stasher: Helper,
    thaw: Thaw,
    vigil: Vigil,
    options: kernel::Options,
    /// What earlier probes of this recorder counted.
    earlier: Vec<Value>,
    losses_asked: Instant,
    /// When it was last seen that nobody had misled the probe.
    looked: Timestamp,
}

impl Sight {
    /// Reads the history back, attaches the probe, then looks at what already runs.
    pub(super) fn open(config: &Config, boot: BootId) -> Result<Self, Error> {
        let paths = &config.paths;
        let options = kernel::Options {
            boot,
            proc_root: paths.proc.clone(),
            ring_bytes: config.probe.ring_bytes,
            hold: config.probe.hold,
        };
        let probe = Probe::start(&options).map_err(|failure| failure.to_string());
        if let Err(reason) = &probe {
            tracing::error!(
                "no probe: {reason}; processes and connections are NOT recorded, captures still work"
            );
        }
        let thaw = Thaw::open(probe.as_ref().ok(), &paths.proc);
        let own = keeper::own_process(&paths.proc, boot);
        let gaps = gaps::Log::open(gaps::path(&paths.state))?;
        let mut keeper = Keeper::restore(&paths.history(), gaps, &paths.proc, own, Timestamp::now())?;
        let stash = paths.stash();
        let limits = serde_json::to_string(&config.stash).unwrap_or_default();
        let mut stasher = Helper::new("stasher", vec![stash.into(), limits.into()]);
        keeper.connect_stasher(stasher.start(), &mut |_| {});
        let (running, unread) = kernel::scan(&paths.proc, boot);
        for reason in unread {
            tracing::debug!("a process could not be looked at: {reason}");
        }
        for event in &running {
            keeper.take(event, &mut |_| {});
        }
        Ok(Self {
            keeper,
            probe,
            stasher,
            thaw,
            vigil: Vigil::new(),
            options,
            earlier: Vec::new(),
            losses_asked: Instant::now(),
            looked: Timestamp::now(),
        })
    }

    /// Writes down that the recorder started, and with what sight.
    pub(super) fn announce(&mut self, watch: &mut dyn FnMut(&Event)) {
        let words = self.words();
        self.keeper.say("started", &words, None, watch);
        self.keeper.flush(watch);
    }

    /// With what sight, in words.
    pub(super) fn words(&self) -> String {
        match &self.probe {
            Ok(probe) => {
                let blind = probe.report().blind_spots();
                let but = if blind.is_empty() { String::new() } else { format!("; {}", blind.join("; ")) };
                format!("the probe watches processes and connections{but}")
            }
            Err(reason) => format!("BLIND to processes and connections: {reason}"),
        }
    }

    /// Takes what is there; returns how many events the probe gave.
    pub(super) fn drain(&mut self, now: Instant, watch: &mut dyn FnMut(&Event)) -> usize {
        let Self { keeper, thaw, vigil, .. } = self;
        let mut count = 0;
        if let Ok(probe) = &mut self.probe {
            probe.beat();
            count = probe.drain(&mut |event| {
                if vigil.hears(&event) {
                    return;
                }
                keeper.take(&event, watch);
                // Its executable is open by now, or never will be.
                thaw.after(&event);
            });
            thaw.look_after(probe, now);
        }
        if now.saturating_duration_since(self.losses_asked) > LOSSES {
            self.losses_asked = now;
            self.losses(watch);
        }
        self.look(now, watch);
        if let Err(failure) = self.keeper.answers(watch) {
            tracing::error!("{failure}: the stasher is gone; it is started again");
            let channel = self.stasher.start();
            self.keeper.connect_stasher(channel, watch);
        } else if self.keeper.stash.is_stuck(now) {
            tracing::error!("the stasher hangs over a file; it is replaced");
            let channel = self.stasher.start();
            self.keeper.connect_stasher(channel, watch);
        } else if self.keeper.stash.channel().is_none()
            && let Some(channel) = self.stasher.restart(now)
        {
            self.keeper.connect_stasher(Some(channel), watch);
        }
        self.keeper.tick(now, watch);
        count
    }

    /// Takes all that has happened up to now. A flood may go on for ever: it ends after as many records as the ring can
    /// have held when it began.
    pub(super) fn drain_all(&mut self, watch: &mut dyn FnMut(&Event)) {
        for _ in 0..kernel::RING_ROUNDS {
            if self.drain(Instant::now(), watch) < kernel::ROUND {
                return;
            }
        }
    }

    /// Watches over itself; a probe that does not show what our own canary did is started again.
    fn look(&mut self, now: Instant, watch: &mut dyn FnMut(&Event)) {
        let report = self.probe.as_ref().map(Probe::report).map_err(String::as_str);
        let found = self.vigil.look(now, report, self.keeper.counts.history_lost);
        self.tell(found.gaps, watch);
        if !found.unseen.is_empty() {
            self.start_again(watch);
        }
    }

    fn tell(&mut self, gaps: Vec<Gap>, watch: &mut dyn FnMut(&Event)) {
        for gap in gaps {
            tracing::warn!("blind since {}: {}", gap.since, gap.reason);
            let event = self.keeper.own_event(Timestamp::now(), Action::Gap(gap));
            self.keeper.take(&event, watch);
        }
    }

    /// Another probe in place of one that does not see; what began or ended meanwhile is found by a look at /proc.
    fn start_again(&mut self, watch: &mut dyn FnMut(&Event)) {
        self.losses(watch);
        let counts =
            self.probe.as_ref().map(|probe| serde_json::to_value(probe.counts()).unwrap_or_default());
        match Probe::start(&self.options) {
            Ok(probe) => {
                self.earlier.extend(counts);
                self.thaw = Thaw::open(Some(&probe), &self.options.proc_root);
                self.probe = Ok(probe);
                let (running, _) = kernel::scan(&self.options.proc_root, self.options.boot);
                running.iter().for_each(|event| self.keeper.take(event, watch));
                tracing::warn!("the probe was started again");
            }
            Err(failure) => tracing::error!("the probe cannot be started again: {failure}"),
        }
    }

    /// Gaps and losses that touch the time from `since` up to now, those that go on among them.
    pub(super) fn gaps(&self, since: Timestamp, now: Timestamp) -> Vec<Event> {
        let mut all = self.keeper.gaps(since, now);
        all.extend(self.vigil.open().map(|gap| self.keeper.own_event(now, Action::Gap(gap.clone()))));
        all
    }

    /// Writes down what the kernel's side has lost since the last call.
    fn losses(&mut self, watch: &mut dyn FnMut(&Event)) {
        let losses = self.probe.as_mut().map(Probe::losses).unwrap_or_default();
        let misled = self.probe.as_mut().is_ok_and(Probe::was_misled);
        let now = Timestamp::now();
        let mut blind = Vec::new();
        if misled {
            let reason =
                "somebody changed the probe's map; until it was set right, no process was seen".to_owned();
            blind.push(Gap { since: self.looked, reason });
        }
        self.looked = now;
        for loss in losses {
            if loss.place == "sequence" {
                let reason = format!("{} ({}): somebody else may read the ring", loss.detail, loss.count);
                blind.push(Gap { since: loss.since, reason });
            }
            tracing::warn!(place = loss.place, count = loss.count, "events lost: {}", loss.detail);
            let event = self.keeper.own_event(now, Action::Loss(loss));
            self.keeper.take(&event, watch);
        }
        self.tell(blind, watch);
    }

    /// The last words: what was lost up to now, and how much was kept in all.
    pub(super) fn close(&mut self) {
        self.losses(&mut |_| {});
        self.keeper.connect_stasher(None, &mut |_| {});
        let counts = self.counts();
        self.keeper.say("stopped", "stopped in good order", Some(counts), &mut |_| {});
        self.keeper.flush(&mut |_| {});
    }

    /// While idle, the next event wakes us; otherwise events are drained together.
    pub(super) fn set_idle(&mut self, idle: bool) {
        if let Ok(probe) = &mut self.probe {
            probe.set_idle(idle);
        }
    }

    /// What to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let ring = self.probe.as_ref().ok().map(Probe::as_fd);
        ring.into_iter().chain(self.keeper.stash.channel().map(AsFd::as_fd))
    }

    /// What the probe says of itself, or why there is none.
    pub(super) fn report(&self) -> Value {
        match &self.probe {
            Ok(probe) => serde_json::to_value(probe.report()).unwrap_or_default(),
            Err(reason) => json!({ "attached": false, "reason": reason }),
        }
    }

    /// Events attempted, kept and lost.
    pub(super) fn counts(&self) -> Value {
        let kernel =
            self.probe.as_ref().ok().map(|probe| serde_json::to_value(probe.counts()).unwrap_or_default());
        json!({ "kernel": kernel, "earlier_probes": self.earlier, "recorder": self.keeper.counts, "processes_forgotten": self.keeper.tree.forgotten() })
    }

    /// Whether the probe is attached.
    pub(super) fn is_attached(&self) -> bool {
        self.probe.is_ok()
    }
}
