//! What the recorder keeps, and in how much memory, when there is much of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::figure::Figure;
use super::load::Load;
use super::ratio::NOISE;
use crate::agent::Agent;
use crate::exec_storm::recorded::{Missing, Recorded};
use crate::exec_storm::{self, Account};
use crate::story;
use crate::world::BIN;

const LOG: &str = "/tmp/afterimage.log";
/// Both workers together.
const MILLION: u64 = 1_000_000;
/// MiB of the recorder's memory after that, besides the ring.
const GOAL_MIB: f64 = 24.0;

/// A storm of a minute with one marked life in it, between two short ones that nobody watches: the ring cannot put the
/// recorder's work off until it is over.
pub(super) fn storm() -> Result<Vec<Figure>> {
    let alone = || anyhow::Ok(exec_storm::run(&["--seconds", "12"], &brief())?.us_per_life);
    let earlier = alone()?;
    let agent = Agent::start(&story::program(), Path::new(LOG))?;
    let brief = brief();
    let before = Missing::read(&agent.status()?)?;
    let storm = exec_storm::run(&["--seconds", "60"], &brief)?;
    let recorded = Recorded::read(&story::program(), &storm, &brief)?;
    recorded.compare(&storm, &Missing::read(&agent.status()?)?.since(&before))?;
    agent.stop()?;
    let later = alone()?;
    let sustained = sustained(&storm, earlier, later);
    let shown = format!("{} of {} records", recorded.lost(), storm.lives * 3);
    let mark =
        if recorded.has_marked() { "the marked life was found" } else { "the marked life was NOT found" };
    let count = Figure::new("lost in an exec storm of 60 s on both cores", recorded.lost() as f64, shown);
    let note =
        format!("{:.0} us a life; stored and lost together are exactly all; {mark}", storm.us_per_life);
    Ok(vec![count.at_most(0.0).note(note), sustained])
}

fn sustained(storm: &Account, earlier: f64, later: f64) -> Figure {
    let what = "exec storm of a known static binary, kept up for 60 s, afterimage";
    let with = storm.us_per_life;
    let ratio = with * 2.0 / (earlier + later);
    let shown = format!("{ratio:.3} ({with:.0} us; {earlier:.0} and {later:.0} us without)");
    if earlier.max(later) > earlier.min(later) * (1.0 + NOISE) {
        return Figure::missing(what, format!("{shown}: others used the machine"));
    }
    Figure::new(what, ratio, shown).at_most(Load::Storm.goal()).note("one measurement")
}

/// The recorder's memory after a million processes, or after as many as a world has time for.
pub(super) fn memory() -> Result<Vec<Figure>> {
    let agent = Agent::start(&story::program(), Path::new(LOG))?;
    let begun = Memory::of(agent.pid())?;
    let each = (MILLION / 2).to_string();
    let storm: Account = exec_storm::run(&["--times", &each, "--seconds", "150"], &brief())?;
    agent.history_flushed()?;
    let after = Memory::of(agent.pid())?;
    let what = format!("recorder's memory after {} processes, MiB", storm.lives);
    let shown =
        format!("{:.1}, of these {:.1} anonymous; at its start {:.1}", after.own, after.anonymous, begun.own);
    let mut note = format!("the ring's mapping, not counted: {:.1} MiB resident", after.ring);
    if storm.lives < MILLION {
        note = format!("{note}; a world's time was over before a million");
    }
    agent.stop()?;
    Ok(vec![Figure::new(what, after.own, shown).at_most(GOAL_MIB).note(note)])
}

/// Resident memory in MiB.
struct Memory {
    /// Without the ring.
    own: f64,
    /// Of that, what is no file's.
    anonymous: f64,
    ring: f64,
}

impl Memory {
    /// From smaps: a line `from-to rights offset device inode name`, then `Rss:` and others in kB.
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps")).context("read the recorder's smaps")?;
        let mut memory = Self { own: 0.0, anonymous: 0.0, ring: 0.0 };
        let mut is_ring = false;
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let mib = || {
                value.trim().split(' ').next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default()
                    / 1024.0
            };
            match key {
                "Rss:" if is_ring => memory.ring += mib(),
                "Rss:" => memory.own += mib(),
                "Anonymous:" if !is_ring => memory.anonymous += mib(),
                key if !key.ends_with(':') => is_ring = line.contains("bpf-map") || line.contains("bpf_map"),
                _ => {}
            }
        }
        Ok(memory)
    }
}

fn brief() -> PathBuf {
    Path::new(BIN).join("brief")
}
