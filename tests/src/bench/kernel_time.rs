//! The probe's own time in the kernel for one process life.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::agent::Agent;
use crate::bpf_stats::{self, Counting};
use crate::world::BIN;
use crate::{storm, story};

/// µs of a process life: fork, exec and exit.
const GOAL: f64 = 2.0;

/// Runs a storm under the agent while the kernel counts.
pub fn measure() -> Result<()> {
    let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
    let counting = Counting::begin()?;
    let before = bpf_stats::of_process(agent.pid())?;
    let storm = storm::run(&["--seconds", "10"], &Path::new(BIN).join("tiny"))?;
    let after = bpf_stats::of_process(agent.pid())?;
    drop(counting);
    println!(
        "kernel time by bpf_stats, over a storm of {} lives ({:.0} us each):",
        storm.lives, storm.us_per_life
    );
    let mut life = 0.0;
    for (hook, after) in &after {
        let before = before.get(hook).copied().unwrap_or_default();
        let (runs, ns) = (after.runs - before.runs, (after.ns - before.ns) as f64);
        if runs == 0 {
            continue;
        }
        println!("  {hook:24} {:>8.0} ns a run, {runs} runs", ns / runs as f64);
        if hook.starts_with("sched_process_") {
            life += ns / storm.lives as f64 / 1000.0;
        }
    }
    ensure!(life > 0.0, "no program ran: {after:?}");
    let verdict = if life <= GOAL { "reached" } else { "NOT reached" };
    println!("  a life: {life:.2} us; goal: at most {GOAL} us: {verdict}");
    println!("  counts: {}", agent.status()?["counts"]);
    agent.stop()
}
