//! What a real load takes on disk.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::figure::Figure;
use crate::agent::{self, Agent};
use crate::story;

const LOG: &str = "/tmp/afterimage.log";
const HISTORY: &str = "/var/lib/afterimage/history";
const LOAD: &str = include_str!("mixed.sh");
/// So many of them at once.
const SHELLS: usize = 2;
const SECONDS: &str = "60";
/// Bytes of a process life: fork, exec and exit, and whatever else of it was told.
const GOAL: f64 = 60.0;

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "event.action")]
    action: String,
}

/// Shells, compilers, git, python and perl for a minute; then the history is compacted.
pub(super) fn measure() -> Result<Vec<Figure>> {
    let program = story::program();
    let agent = Agent::start(&program, Path::new(LOG))?;
    let shells: Vec<Child> = (0..SHELLS).map(|_| shell()).collect::<Result<_>>()?;
    for mut shell in shells {
        ensure!(shell.wait()?.success(), "the load failed");
    }
    agent.stop()?;
    let (mut lives, mut events) = (0_u32, 0_u32);
    agent::each_event(&program, |event: Event| {
        events += 1;
        lives += u32::from(event.action == "exit");
        Ok(())
    })?;
    ensure!(lives > 1000, "only {lives} process lives");
    let written = bytes()?;
    agent::succeed(&program, &["compact", HISTORY])?;
    let compacted = bytes()? as f64 / f64::from(lives);
    let shown =
        format!("{compacted:.1}, index included; {:.1} as it was written", written as f64 / f64::from(lives));
    let note =
        format!("{lives} lives, {events} events: gcc, git, python, perl, shells and their small tools");
    Ok(vec![
        Figure::new("bytes of a process life on disk, mixed real load", compacted, shown)
            .at_most(GOAL)
            .note(note),
    ])
}

fn shell() -> Result<Child> {
    let mut command = Command::new("bash");
    command
        .args(["-c", LOAD, "load", SECONDS])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context("start bash")
}

fn bytes() -> Result<u64> {
    let entries = fs::read_dir(HISTORY)?;
    entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
