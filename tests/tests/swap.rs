//! A second thread rewrites path and arguments while the kernel reads them: the history has what the kernel used.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::world::BIN;
use e2e::{story, world};
use serde::Deserialize;

const LOG: &str = "/tmp/afterimage.log";
const FOLDER: &str = "/tmp/swap";
const RESULTS: &str = "/var/tmp/given";
/// In each of two worlds: a world does not live long enough for all of them.
const TRIES: u64 = 50_000;

/// What the executed program says that the kernel gave it.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    executable: String,
    filename: String,
    args: Vec<String>,
}

/// What the history says of one exec.
#[derive(Deserialize)]
struct Exec {
    #[serde(rename = "event.action")]
    action: String,
    #[serde(rename = "process.executable", default)]
    executable: String,
    #[serde(rename = "afterimage.filename", default)]
    filename: String,
    #[serde(rename = "process.args", default)]
    args: Vec<String>,
}

#[test]
fn what_is_recorded_is_what_the_kernel_used() {
    world::inside("what_is_recorded_is_what_the_kernel_used", compare);
}

#[test]
fn what_is_recorded_is_what_the_kernel_used_another_time() {
    world::inside("what_is_recorded_is_what_the_kernel_used_another_time", compare);
}

fn compare() -> Result<()> {
    fs::create_dir_all(FOLDER)?;
    for name in ["a", "b"] {
        fs::copy(Path::new(BIN).join("given"), Path::new(FOLDER).join(name))?;
    }
    let agent = Agent::start(&story::program(), Path::new(LOG))?;
    let mut swap = Command::new(Path::new(BIN).join("swap"));
    let status = swap.args([&TRIES.to_string(), FOLDER, RESULTS]).status()?;
    ensure!(status.success(), "swap failed: {status}");

    let mut truth = truth()?;
    ensure!(truth.len() as u64 == TRIES, "{} of {TRIES} said what they were given", truth.len());
    let swapped = truth.values().filter(|given| given.is_swapped()).count();
    let torn = truth.values().filter(|given| given.is_torn()).count();
    let (mut right, mut wrong) = (0, Vec::new());
    agent::each_event(&story::program(), |exec: Exec| {
        if exec.action != "exec" || !exec.executable.starts_with(FOLDER) {
            return Ok(());
        }
        let number = exec.args.get(1).context("no number")?.parse()?;
        let given = truth.remove(&number).with_context(|| format!("try {number} is there twice"))?;
        let Exec { executable, filename, args, .. } = exec;
        let recorded = Given { executable, filename, args };
        if recorded == given {
            right += 1;
        } else if wrong.len() < 3 {
            wrong.push((given, recorded));
        }
        Ok(())
    })?;
    println!("{TRIES} tries: {swapped} with a swapped value, {torn} with a text changed while it was copied");
    println!("in the history: {right} right, {} missing", truth.len());
    ensure!(swapped > 0 && torn > 0, "no value was swapped: the test showed nothing");
    ensure!(wrong.is_empty(), "recorded is not what the kernel used: {wrong:?}");
    let status = agent.status()?;
    let lost = &status["counts"]["kernel"]["kinds"]["exec"]["lost"];
    ensure!(*lost == truth.len(), "{} are missing, and {lost} counted as lost", truth.len());
    agent.stop()
}

impl Given {
    /// Everything said `a` when the call began.
    fn is_swapped(&self) -> bool {
        self.executable.ends_with('b') || self.args.iter().skip(2).any(|text| text.contains('b'))
    }

    fn is_torn(&self) -> bool {
        self.args.get(2).is_some_and(|text| text.contains('a') && text.contains('b'))
    }
}

/// By the number of the try.
fn truth() -> Result<HashMap<u64, Given>> {
    let text = fs::read_to_string(RESULTS)?;
    text.lines()
        .map(|line| {
            let mut texts = line.split('\t').map(str::to_owned);
            let given = Given {
                executable: texts.next().context("no executable")?,
                filename: texts.next().context("no name")?,
                args: texts.collect(),
            };
            let number = given.args.get(1).with_context(|| format!("an odd line {line}"))?.parse()?;
            Ok((number, given))
        })
        .collect()
}
