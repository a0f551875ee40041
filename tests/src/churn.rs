//! Processes and connections that come and go as fast as said, while captures look for what hides: whatever they find is
//! a false alarm.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::judges::Bag;
use crate::world::BIN;

/// What is looked at, one file of a bundle each.
pub const KINDS: [&str; 9] =
    ["processes", "sockets", "disguises", "preload", "mounts", "bpf", "modules", "entries", "times"];

/// What came of it.
pub struct Churn {
    /// Captures that were taken meanwhile.
    pub captures: usize,
    /// Processes that were started each second.
    pub rate: f64,
    /// Everything that was found.
    pub alarms: Vec<Value>,
}

/// Starts some 500 processes a second for so long, and captures the whole host meanwhile, again and again.
pub fn watch(agent: &Agent, time: Duration) -> Result<Churn> {
    let seconds = time.as_secs().to_string();
    let mut storm = Command::new(format!("{BIN}/storm"))
        .args(["--workers", "2", "--seconds", &seconds, "--pause-us", "3000"])
        .arg(format!("{BIN}/brief"))
        .stdout(Stdio::piped())
        .spawn()
        .context("start the storm")?;
    let connect = || {
        let mut dial = Command::new(format!("{BIN}/dial"));
        dial.args(["--times", "20000"]).stdout(Stdio::null()).spawn().context("start the connections")
    };
    let mut dial = connect()?;
    let (begun, mut captures, mut alarms) = (Instant::now(), 0, Vec::new());
    while storm.try_wait()?.is_none() && begun.elapsed() < time + Duration::from_secs(30) {
        let bundle = agent.capture(&["--host", "--profile", "triage"])?;
        alarms.extend(found(&bundle)?);
        fs::remove_file(&bundle)?;
        captures += 1;
        if dial.try_wait()?.is_some() {
            dial = connect()?;
        }
    }
    drop(dial.kill());
    dial.wait()?;
    let output = storm.wait_with_output()?;
    let said: Value = serde_json::from_slice(&output.stdout).context("what the storm says of itself")?;
    let lives = said["lives"].as_f64().context("no number of lives")?;
    let rate = lives / said["seconds"].as_f64().context("no time")?;
    ensure!(captures > 0, "not one capture was taken in time");
    Ok(Churn { captures, rate, alarms })
}

/// All findings of what hides in a bundle.
pub fn found(bundle: &Path) -> Result<Vec<Value>> {
    let into = Path::new("/var/tmp/churn");
    let bag = Bag::extract(bundle, into)?;
    let all = findings(bag.root(), false)?;
    fs::remove_dir_all(into)?;
    Ok(all)
}

/// The same of an extracted one. What belongs to the `whole` machine is refused in a world.
pub fn findings(bag: &Path, whole: bool) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for kind in KINDS {
        let file = bag.join(format!("data/hidden/{kind}.json"));
        if !file.exists() {
            ensure!(!whole && ["bpf", "modules"].contains(&kind), "{kind}.json is not in the bundle");
            continue;
        }
        let report: Value = serde_json::from_slice(&fs::read(file)?)?;
        all.extend(report["findings"].as_array().context("no findings")?.iter().cloned());
    }
    Ok(all)
}
