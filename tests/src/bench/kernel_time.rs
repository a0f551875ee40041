//! The probe's own time in the kernel for one process life, and the recorder's time for it.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::figure::Figure;
use crate::agent::Agent;
use crate::bpf_stats::{self, Counting};
use crate::world::BIN;
use crate::{exec_storm, story};

/// µs of a process life: fork, exec and exit.
const GOAL: f64 = 2.0;
/// µs of a clock tick, in which /proc counts a process's time.
const TICK: f64 = 10_000.0;

/// Runs a storm under the agent while the kernel counts.
pub(super) fn measure() -> Result<Vec<Figure>> {
    let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
    let counting = Counting::begin()?;
    let before = bpf_stats::of_process(agent.pid())?;
    let cpu_before = cpu_ticks(agent.pid())?;
    let storm = exec_storm::run(&["--seconds", "10"], &Path::new(BIN).join("brief"))?;
    // What is still in the ring is part of the work.
    agent.history_flushed()?;
    let cpu = cpu_ticks(agent.pid())?;
    let after = bpf_stats::of_process(agent.pid())?;
    drop(counting);
    let lives = storm.lives as f64;
    let mut figures = Vec::new();
    let mut life = 0.0;
    for (hook, after) in &after {
        let before = before.get(hook).copied().unwrap_or_default();
        let (runs, ns) = ((after.runs - before.runs) as f64, (after.ns - before.ns) as f64);
        if runs == 0.0 {
            continue;
        }
        let shown = format!("{:.0} ns a run, {runs} runs", ns / runs);
        figures.push(Figure::new(format!("kernel time of {hook}"), ns / runs, shown));
        if hook.starts_with("sched_process_") {
            life += ns / lives / 1000.0;
        }
    }
    ensure!(life > 0.0, "no program ran: {after:?}");
    let words = format!("{life:.2} us, over {} lives", storm.lives);
    figures.push(Figure::new("kernel time of a process life, us", life, words).at_most(GOAL));
    let [user, system] =
        [cpu.0 - cpu_before.0, cpu.1 - cpu_before.1].map(|ticks| ticks as f64 * TICK / lives);
    let each = user + system;
    let words = format!("{each:.1} us: {user:.1} user, {system:.1} system");
    figures.push(Figure::new("recorder's time for a process life, us", each, words));
    agent.stop()?;
    Ok(figures)
}

/// User and system time of a process, in clock ticks: fields 14 and 15 of its stat.
fn cpu_ticks(pid: u32) -> Result<(u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("an odd stat")?;
    let mut times = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let (user, system) = (times.next().context("no time")??, times.next().context("no time")??);
    Ok((user, system))
}
