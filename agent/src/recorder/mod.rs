//! The daemon: small, always on.
//!
//! One thread turns in a loop: wait for a sign, then look at every station once. Everything that may take long or
//! hang (collecting, sealing, hashing files, HTTP) happens in other processes.

mod captures;
mod compactor;
mod descriptors;
mod door;
pub mod facts;
mod gate;
mod helper;
mod keeper;
mod local;
mod places;
mod record;
mod sight;
mod status;
mod thaw;
mod vigil;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

pub use captures::{new_id, write_job};
pub use facts::{Host, Reason, Sight};

use crate::bundle::{Sealed, sign};
use crate::config::Config;
use crate::event::Event;
use crate::{history, ipc, kernel};

/// How long a stop waits for the stasher; systemd gives a service 90 s.
const STOP: Duration = Duration::from_secs(20);
/// How long the ring is left alone while events come: they are drained together, without a wake-up each.
const BUSY: Duration = Duration::from_millis(50);
/// How long nothing may come until the next event has to wake us.
const QUIET: Duration = Duration::from_millis(150);
/// The longest sleep: the history's frame has to be sealed in time.
const IDLE: Duration = Duration::from_millis(250);
/// How often old history is looked for.
const RETAIN: Duration = Duration::from_secs(30);

/// Why the recorder cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or descriptor of its own.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was tried.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The history.
    #[error(transparent)]
    History(#[from] history::segment::Error),
    /// The signing key.
    #[error(transparent)]
    Key(#[from] sign::Error),
    /// The local socket, or a helper.
    #[error(transparent)]
    Ipc(#[from] ipc::Error),
    /// The boot's identity.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The list of gaps.
    #[error(transparent)]
    Gaps(#[from] history::gaps::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// How many attempts of a sealed capture ended how, as words and numbers.
pub fn outcomes(sealed: &Sealed) -> Vec<(String, u64)> {
    let word = |outcome| serde_json::to_value(outcome).ok().and_then(|word| word.as_str().map(str::to_owned));
    sealed.outcomes.iter().filter_map(|(outcome, count)| Some((word(outcome)?, *count))).collect()
}

/// Whether places of persistence and logs can be watched here, or why not.
pub fn watches_places(config: &Config) -> Result<(), String> {
    places::is_possible(&config.paths.root, config.probe.places)
}

/// Names the step of an I/O error.
fn io(step: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let step = step.into();
    move |source| Error::Io { step, source }
}

/// The whole daemon.
pub struct Recorder {
    config: Config,
    facts: Host,
    started: Timestamp,
    sight: sight::Sight,
    captures: captures::Captures,
    clients: local::Clients,
    door: door::Door,
    signals: SignalFd,
    wake: Arc<EventFd>,
    quiet_since: Instant,
    retained: Instant,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Error> {
    let mut recorder = Recorder::start(config)?;
    while recorder.turn()? {}
    recorder.stop();
    Ok(())
}

impl Recorder {
    /// Everything in its place: key, store, probe, history, socket, door. Events are recorded from here on.
    fn start(config: Config) -> Result<Self, Error> {
        let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
        signals.thread_block().map_err(|errno| io("block signals")(errno.into()))?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|errno| io("receive signals")(errno.into()))?;
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|errno| io("make an event descriptor")(errno.into()))?;
        let wake = Arc::new(wake);
        let facts = Host::read(&config)?;
        let key = Arc::new(sign::Key::load_or_create(&config.paths.keys(), &facts.machine_id)?);
        let store = config.paths.bundles();
        crate::store::Store::open(&store)?;
        let clients = local::Clients::listen(&config.paths.socket)?;
        let mut sight = sight::Sight::open(&config, &facts, wake.clone())?;
        let records = config.paths.state.join("captures");
        let captures =
            captures::Captures::open(&store, &records, &config.captures, key, sight.tasks(), wake.clone())
                .map_err(io(format!("open the store {}", store.display())))?;
        let door = door::Door::open(&config);
        sight.announce(&mut |_| {});
        let now = Instant::now();
        let mut recorder = Self {
            facts,
            started: Timestamp::now(),
            sight,
            captures,
            clients,
            door,
            signals,
            wake,
            quiet_since: now,
            retained: now,
            config,
        };
        recorder.retain();
        tracing::info!("recording; {}", recorder.sight.words());
        Ok(recorder)
    }

    /// Waits for a sign and looks at every station once. `false` when it is time to stop.
    fn turn(&mut self) -> Result<bool, Error> {
        self.wait().map_err(io("wait for events"))?;
        let now = Instant::now();
        let clients = &mut self.clients;
        if self.sight.drain(now, &mut |event: &Event| clients.event(event)) > 0 {
            self.quiet_since = now;
        }
        self.sight.set_idle(now.saturating_duration_since(self.quiet_since) > QUIET);
        self.captures();
        self.serve_clients();
        self.serve_door();
        if now.saturating_duration_since(self.retained) > RETAIN {
            self.retain();
        }
        Ok(!matches!(self.signals.read_signal(), Ok(Some(_))))
    }

    fn wait(&self) -> io::Result<()> {
        // While events come, an ordinary one wakes nobody: they are taken together at the end of this time.
        let busy = self.quiet_since.elapsed() <= QUIET;
        self.poll(if busy { BUSY } else { IDLE })
    }

    fn poll(&self, timeout: Duration) -> io::Result<()> {
        let mut all = vec![self.signals.as_fd(), self.wake.as_fd()];
        all.extend(self.sight.descriptors());
        all.extend(self.clients.descriptors());
        all.extend(self.door.descriptor());
        let mut set: Vec<PollFd<'_>> = all.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::from(u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX));
        match poll(&mut set, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            // Somebody has lowered our limit of descriptors below what we have open (poll(2)): look without waiting for
            // a sign, rather than not at all.
            Err(nix::errno::Errno::EINVAL) => std::thread::sleep(BUSY),
            Err(failure) => return Err(failure.into()),
        }
        // What it counts is found by looking; EAGAIN says that nobody woke us.
        match self.wake.read() {
            Ok(_) | Err(nix::errno::Errno::EAGAIN) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    fn captures(&mut self) {
        for happening in self.captures.happenings() {
            self.clients.happening(&happening, &self.config.paths.bundles());
        }
    }

    fn retain(&mut self) {
        self.retained = Instant::now();
        self.sight.read_accounts(&self.config);
        let kept = &self.config.history;
        self.sight.keeper.retain(kept.bytes, kept.hours, Timestamp::now());
    }

    /// Everything that is known goes to disk. Captures that run are sealed at the next start.
    fn stop(&mut self) {
        tracing::info!("stopping");
        // What the stasher still has may be all that is left of processes that have gone: it is worth the wait.
        let deadline = Instant::now() + STOP;
        loop {
            let clients = &mut self.clients;
            self.sight.drain_all(&mut |event: &Event| clients.event(event));
            // A capture that ends in this time has its record.
            self.captures();
            let waiting = self.sight.keeper.stash.is_waiting() && Instant::now() < deadline;
            if !waiting || self.poll(BUSY).is_err() {
                break;
            }
        }
        self.sight.close();
    }
}
