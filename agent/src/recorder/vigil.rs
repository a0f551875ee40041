//! The recorder's watch over itself: sends the canary, reads the clocks, and says what it is blind to.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::cmd::canary::{NO_TCP, NO_UDP};
use crate::event::{Event, Gap};
use crate::kernel::Report;
use crate::system::spawn;
use crate::thaw::boot_time;
use crate::vigil::canary::{Canary, Song, Verdict};
use crate::vigil::clock::{Clocks, Odd, Watch};
use crate::vigil::gaps::Gaps;

/// How often the canary is sent.
const EVERY: Duration = Duration::from_secs(10);
/// A canary that has not ended by then hangs.
const LONGEST: Duration = Duration::from_secs(5);

/// What the watch found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What to write down, oldest first.
    pub(super) gaps: Vec<Gap>,
    /// What the canary did and nobody saw; the probe should be started again.
    pub(super) unseen: BTreeSet<Song>,
}

/// Canary, clocks and open gaps.
pub(super) struct Vigil {
    gaps: Gaps,
    clocks: Watch,
    flying: Option<(Canary, Child, Instant)>,
    sent: Option<Instant>,
    /// When a canary last came back whole.
    well: Timestamp,
    history_lost: u64,
}

impl Vigil {
    /// Begins to watch.
    pub(super) fn new() -> Self {
        Self {
            gaps: Gaps::default(),
            clocks: Watch::new(clocks()),
            flying: None,
            sent: None,
            well: Timestamp::now(),
            history_lost: 0,
        }
    }

    /// Whether `event` is the canary's, and none of the host's.
    pub(super) fn hears(&mut self, event: &Event) -> bool {
        self.flying.as_mut().is_some_and(|(canary, ..)| canary.hear(event))
    }

    /// The ring was not emptied: what the canary did may still be in it.
    pub(super) fn is_behind(&mut self, now: Instant) {
        if let Some((canary, ..)) = &mut self.flying {
            canary.wait_on(now);
        }
    }

    /// Looks at everything once. `probe` is its report, or why there is none; `history_lost` counts events that the disk
    /// did not take.
    pub(super) fn look(&mut self, now: Instant, probe: Result<&Report, &str>, history_lost: u64) -> Found {
        let mut found = Found::default();
        found.gaps.extend(self.clocks());
        found.gaps.extend(self.disk(history_lost));
        found.gaps.extend(self.programs(probe));
        self.canary(now, probe.ok(), &mut found);
        found
    }

    /// What is open now.
    pub(super) fn open(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.all()
    }

    fn clocks(&mut self) -> Vec<Gap> {
        let now = clocks();
        let told = |odd| match odd {
            Odd::Standstill(time) => Gap {
                since: now.wall.checked_sub(time).unwrap_or(now.wall),
                reason: format!(
                    "the recorder stood still for {} ms (stopped, frozen, or without cpu); what the ring could not hold \
                     meanwhile is told as lost",
                    time.as_millis()
                ),
            },
            Odd::Stepped(step) => Gap {
                since: now.wall.min(now.wall.checked_sub(step).unwrap_or(now.wall)),
                reason: format!(
                    "the wall clock was set {} by {} ms; times before and after do not go together",
                    if step.is_positive() { "forwards" } else { "back" },
                    step.as_millis().unsigned_abs()
                ),
            },
        };
        self.clocks.look(now).into_iter().map(told).collect()
    }

    fn disk(&mut self, lost: u64) -> Option<Gap> {
        let before = std::mem::replace(&mut self.history_lost, lost);
        if lost > before {
            let reason = "the history could not be written (disk full, or an error)".to_owned();
            return self.gaps.open("history", Timestamp::now(), reason);
        }
        // Said to be over with the next canary that came back, which looks at the disk as well.
        None
    }

    /// What the kernel did not let us attach, or was taken off.
    fn programs(&mut self, probe: Result<&Report, &str>) -> Vec<Gap> {
        let blind = match probe {
            Ok(report) => report.blind_spots(),
            Err(reason) => vec![format!("no probe: {reason}; processes and connections are not recorded")],
        };
        let words = blind.join("; ");
        let known = self.gaps.all().any(|gap| gap.reason == words);
        if known {
            return Vec::new();
        }
        let over = self.gaps.close("probe");
        let begun = (!words.is_empty()).then(|| self.gaps.open("probe", Timestamp::now(), words)).flatten();
        over.into_iter().chain(begun).collect()
    }

    fn canary(&mut self, now: Instant, probe: Option<&Report>, found: &mut Found) {
        if let Some((canary, child, started)) = &mut self.flying {
            let hangs = now.saturating_duration_since(*started) > LONGEST;
            match child.try_wait() {
                Ok(Some(status)) => canary.ended(&could_not(status.code()), now),
                Ok(None) if hangs => {
                    drop(child.kill());
                    canary.ended(&[Song::Listen, Song::Connect, Song::Accept, Song::Datagram], now);
                }
                Ok(None) => {}
                Err(_) => canary.ended(&[], now),
            }
            let Some(verdict) = canary.verdict(now) else { return };
            self.flying = None;
            let unseen = match verdict {
                Verdict::Well => BTreeSet::new(),
                Verdict::Missing(unseen) => unseen,
            };
            self.judge(&unseen, &mut found.gaps);
            found.unseen = unseen;
            if !found.unseen.is_empty() {
                // The next one is for the probe that comes in the place of this one.
                self.sent = Some(now);
                return;
            }
        }
        let due = self.sent.is_none_or(|sent| now.saturating_duration_since(sent) >= EVERY);
        if let Some(report) = probe.filter(|_| due && self.flying.is_none()) {
            self.sent = Some(now);
            match send(report) {
                Ok((canary, child)) => self.flying = Some((canary, child, now)),
                Err(failure) => {
                    let reason = format!(
                        "the canary cannot be started ({failure}): nobody knows whether the probe sees"
                    );
                    found.gaps.extend(self.gaps.open("start", self.well, reason));
                }
            }
        }
    }
}

impl Vigil {
    /// A canary came back but for what is `unseen`.
    fn judge(&mut self, unseen: &BTreeSet<Song>, gaps: &mut Vec<Gap>) {
        for song in Song::ALL {
            let words = song.words();
            if unseen.contains(&song) {
                let reason = format!("a canary did it and the probe did not show it: {words}");
                gaps.extend(self.gaps.open(words, self.well, reason));
            } else {
                gaps.extend(self.gaps.close(words));
            }
        }
        gaps.extend(["start", "history"].into_iter().filter_map(|cause| self.gaps.close(cause)));
        if unseen.is_empty() {
            self.well = Timestamp::now();
        }
    }
}

fn send(report: &Report) -> io::Result<(Canary, Child)> {
    let child = spawn::ourselves(&["canary".as_ref()], &[], Stdio::null(), Stdio::null())?;
    let attached = |names: &[&str]| names.iter().any(|name| report.is_attached(name));
    let expected = [
        (Song::Fork, &["fork"][..]),
        (Song::Exec, &["exec"]),
        (Song::Exit, &["exit"]),
        (Song::Listen, &["tcp"]),
        (Song::Connect, &["tcp"]),
        (Song::Accept, &["accepted2", "accepted4", "calls"]),
        (Song::Datagram, &["udp4"]),
    ];
    let expected = expected.into_iter().filter(|(_, names)| attached(names)).map(|(song, _)| song).collect();
    Ok((Canary::started(child.id(), expected), child))
}

/// What the canary's exit code says that it could not do; a strange end says nothing of what it did.
fn could_not(code: Option<i32>) -> Vec<Song> {
    let Some(code) = code.and_then(|code| u8::try_from(code).ok()) else {
        return vec![Song::Listen, Song::Connect, Song::Accept, Song::Datagram];
    };
    let mut songs = Vec::new();
    if code & NO_TCP != 0 {
        songs.extend([Song::Listen, Song::Connect, Song::Accept]);
    }
    if code & NO_UDP != 0 {
        songs.push(Song::Datagram);
    }
    songs
}

fn clocks() -> Clocks {
    Clocks { wall: Timestamp::now(), boot: boot_time() }
}
