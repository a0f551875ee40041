//! The gate as the recorder sees it: a thread starts it, asks for signs of life, ends it when there are none.
//!
//! A thread of its own, because the recorder's loop may itself be waiting for a helper to start, and that start for the
//! gate's answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::eventfd::EventFd;
use serde_json::{Value, json};

use super::helper::Helper;
use crate::event::{Action, Event};
use crate::gate::message::{FromGate, Marks, Settings, ToGate};
use crate::ipc::{self, Channel};

/// How often a sign of life is asked for, and how long one question waits for its answer.
const PING: Duration = Duration::from_millis(250);
/// So many questions without an answer: it is ended.
const UNANSWERED_MAX: u32 = 4;
/// The time between an end and the next start: the least, and the most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// One that lived so long is started again at once when it ends.
const LIVED: Duration = Duration::from_mins(1);
/// Bytes of hand-overs that may wait in the kernel while the recorder does something else: some thousand files.
const WAITING_BYTES: usize = 8 << 20;
/// Happenings, and orders, that may wait.
const WAITING: usize = 64;
/// Pairs of mount namespace and device that are remembered.
const NAMESPACES_MAX: usize = 4096;
/// Looks for one pair.
const LOOKS_MAX: u8 = 4;
/// How long the recorder's start waits for the first marks.
const START: Duration = Duration::from_secs(2);

/// What became of the gate.
pub(super) enum Happening {
    /// It runs; files come through this channel.
    Up(Channel),
    /// It watches these.
    Marks(Marks),
    /// It was too fast for us.
    Missed { count: u64, since: Timestamp },
    /// It ended, or was ended; it will be started again.
    Down {
        /// The last sign of life.
        since: Timestamp,
        reason: String,
    },
    /// It cannot work on this host.
    Refused(String),
}

/// Whether there is one, and what it does.
enum State {
    Off,
    Starting,
    Watching(Marks),
    Down(String),
    Refused(String),
}

/// The gate.
pub(super) struct Gate {
    happenings: Option<Receiver<Happening>>,
    orders: Option<SyncSender<ToGate>>,
    state: State,
    since: Timestamp,
}

impl Gate {
    /// None, because the configuration says so.
    pub(super) fn off() -> Self {
        Self { happenings: None, orders: None, state: State::Off, since: Timestamp::now() }
    }

    /// Starts it and its watcher, which rings `wake` when something has happened.
    pub(super) fn start(settings: Settings, wake: Arc<EventFd>) -> Self {
        let (tell, happenings) = mpsc::sync_channel(WAITING);
        let (orders, to_do) = mpsc::sync_channel(WAITING);
        let watcher = Watcher { settings, wake, tell, orders: to_do };
        let (state, since) = (State::Starting, Timestamp::now());
        match thread::Builder::new().name("gate".to_owned()).spawn(move || watcher.run()) {
            Ok(_) => Self { happenings: Some(happenings), orders: Some(orders), state, since },
            Err(failure) => Self { state: State::Refused(format!("no thread: {failure}")), ..Self::off() },
        }
    }

    /// Waits a moment for the first marks, so that what is executed from now on is asked for.
    pub(super) fn await_marks(&mut self) -> Vec<Happening> {
        let deadline = Instant::now() + START;
        let mut all = Vec::new();
        while matches!(self.state, State::Starting)
            && let Some(happenings) = &self.happenings
            && let Ok(happening) = happenings.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.note(&happening);
            all.push(happening);
        }
        all
    }

    /// What has happened since the last call.
    pub(super) fn turn(&mut self) -> Vec<Happening> {
        let all: Vec<_> = self.happenings.iter().flat_map(Receiver::try_iter).collect();
        for happening in &all {
            self.note(happening);
        }
        all
    }

    /// Has the file systems marked that these processes see, if they are in that mount namespace.
    fn look(&self, mounts: u32, pids: Vec<u32>) {
        let order = ToGate::Look { mounts, pids };
        if self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_err()) {
            tracing::debug!(mounts, "the gate's watcher is behind; a look was dropped");
        }
    }

    /// Whether whole file systems are watched.
    pub(super) fn covers_file_systems(&self) -> bool {
        matches!(&self.state, State::Watching(marks) if marks.file_systems)
    }

    /// What is in force, in words.
    pub(super) fn words(&self) -> String {
        match &self.state {
            State::Off => "switched off (gate.enabled)".to_owned(),
            State::Starting => "starts".to_owned(),
            State::Down(reason) => format!("down: {reason}"),
            State::Refused(reason) => format!("not possible here: {reason}"),
            State::Watching(marks) if marks.file_systems => {
                format!(
                    "watches {} file systems, containers included; not FUSE or network file systems",
                    marks.marked
                )
            }
            State::Watching(marks) => format!(
                "watches {} mounts of the agent's own mount namespace; not those of containers and of services with \
                 a mount namespace of their own, nor FUSE or network file systems",
                marks.marked
            ),
        }
    }

    /// The same for `status --json`.
    pub(super) fn report(&self) -> Value {
        let marks = match &self.state {
            State::Watching(marks) => serde_json::to_value(marks).unwrap_or_default(),
            _ => Value::Null,
        };
        json!({ "in_force": !marks.is_null(), "words": self.words(), "marks": marks, "since": self.since })
    }

    fn note(&mut self, happening: &Happening) {
        let before = matches!(self.state, State::Watching(_));
        self.state = match happening {
            Happening::Up(_) => State::Starting,
            Happening::Marks(marks) => State::Watching(marks.clone()),
            Happening::Down { reason, .. } => State::Down(reason.clone()),
            Happening::Refused(reason) => State::Refused(reason.clone()),
            Happening::Missed { .. } => return,
        };
        if before != matches!(self.state, State::Watching(_)) {
            self.since = Timestamp::now();
        }
    }
}

/// The file systems that something was executed from, by mount namespace and device, and how often the gate was told to
/// look there: the processes may be gone before it looks.
#[derive(Default)]
pub(super) struct Namespaces(HashMap<(u32, u32), u8>);

impl Namespaces {
    /// Has the gate look at the file systems of a namespace when one is new.
    pub(super) fn look(&mut self, event: &Event, gate: &Gate) {
        let (Action::Exec(image) | Action::Running(image)) = &event.action else { return };
        let mounts = image.namespaces.mnt;
        if mounts == 0 || !gate.covers_file_systems() {
            return;
        }
        let place = (mounts, image.device);
        if self.0.len() >= NAMESPACES_MAX && !self.0.contains_key(&place) {
            self.0.clear();
        }
        let looks = self.0.entry(place).or_default();
        if *looks < LOOKS_MAX {
            *looks += 1;
            let parent = image.parent.map(|parent| parent.pid);
            gate.look(mounts, [event.process.pid].into_iter().chain(parent).collect());
        }
    }
}

/// The thread.
struct Watcher {
    settings: Settings,
    wake: Arc<EventFd>,
    tell: SyncSender<Happening>,
    orders: Receiver<ToGate>,
}

/// Why one gate's life is over.
enum End {
    Down {
        since: Timestamp,
        reason: String,
    },
    Refused(String),
    /// Nobody listens any more.
    Alone,
}

impl Watcher {
    fn run(&self) {
        let settings = serde_json::to_string(&self.settings).unwrap_or_default();
        let mut helper = Helper::new("gate", vec![settings.into()]);
        let mut pause = PAUSES.0;
        loop {
            let begun = Instant::now();
            let end = self.live(&mut helper);
            // First of all: whoever waits for its answer may go on.
            helper.end();
            let happening = match end {
                End::Alone => return,
                End::Refused(reason) => Happening::Refused(reason),
                End::Down { since, reason } => Happening::Down { since, reason },
            };
            let for_good = matches!(happening, Happening::Refused(_));
            if !self.say(happening) || for_good {
                return;
            }
            pause = if begun.elapsed() > LIVED { PAUSES.0 } else { pause };
            thread::sleep(pause);
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }

    /// Starts one and asks it for signs of life as long as it gives them.
    fn live(&self, helper: &mut Helper) -> End {
        let mut since = Timestamp::now();
        let down = |since, reason: String| End::Down { since, reason };
        let started = Channel::pair().and_then(|(ours, theirs)| {
            theirs.widen(WAITING_BYTES)?;
            Ok((ours, helper.start_with(Some(theirs.into()))))
        });
        let (files, control) = match started {
            Ok((files, Some(control))) => (files, control),
            Ok((_, None)) => return down(since, "the gate could not be started".to_owned()),
            Err(failure) => return down(since, format!("the gate could not be started: {failure}")),
        };
        if let Err(failure) = control.set_timeout(PING) {
            return down(since, failure.to_string());
        }
        if !self.say(Happening::Up(files)) {
            return End::Alone;
        }
        let (mut number, mut unanswered) = (0_u64, 0);
        while unanswered < UNANSWERED_MAX {
            for order in self.orders.try_iter() {
                if control.try_send(&order, &[]).is_err() {
                    tracing::debug!("the gate is behind; a look was dropped");
                }
            }
            number = number.wrapping_add(1);
            let asked = Instant::now();
            match control.try_send(&ToGate::Ping { number }, &[]) {
                Ok(()) | Err(ipc::Error::WouldBlock) => {}
                Err(_) => return down(since, "the gate ended".to_owned()),
            }
            match self.hear(&control, number) {
                Ok(true) => {
                    (since, unanswered) = (Timestamp::now(), 0);
                    thread::sleep(PING.saturating_sub(asked.elapsed()));
                }
                Ok(false) => unanswered += 1,
                Err(end) => return end.unwrap_or_else(|| down(since, "the gate ended".to_owned())),
            }
        }
        down(since, "the gate did not answer and was ended".to_owned())
    }

    /// Listens until the answer with this number has come; `false` when it does not come in time.
    fn hear(&self, control: &Channel, wanted: u64) -> Result<bool, Option<End>> {
        loop {
            match control.recv::<FromGate>() {
                Ok(Some((FromGate::Pong { number }, _))) if number == wanted => return Ok(true),
                Ok(Some((FromGate::Pong { .. }, _))) => {}
                Ok(Some((FromGate::Marks(marks), _))) => self.mention(Happening::Marks(marks)),
                Ok(Some((FromGate::Missed { count, since }, _))) => {
                    self.mention(Happening::Missed { count, since });
                }
                Ok(Some((FromGate::Refused { reason }, _))) => return Err(Some(End::Refused(reason))),
                Err(ipc::Error::WouldBlock) => return Ok(false),
                Ok(None) | Err(_) => return Err(None),
            }
        }
    }

    /// `false` when nobody listens any more.
    fn say(&self, happening: Happening) -> bool {
        let told = self.tell.send(happening).is_ok();
        self.ring();
        told
    }

    /// EAGAIN: it rings already.
    fn ring(&self) {
        if let Err(failure) = self.wake.write(1) {
            tracing::debug!("the recorder was not woken: {failure}");
        }
    }

    /// Says it, unless the recorder is behind: a gate that is asked for signs of life is worth more.
    fn mention(&self, happening: Happening) {
        if self.tell.try_send(happening).is_err() {
            tracing::warn!("the recorder is behind; a word of the gate was dropped");
        }
        self.ring();
    }
}
