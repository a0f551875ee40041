//! The load `storm`, and what it says that it did.

pub mod recorded;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::world::BIN;

/// What a storm really did, in its own words.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// Who started all of them.
    pub pid: u32,
    /// Processes that were started and have ended.
    pub lives: u64,
    /// The same, by worker.
    pub by_worker: Vec<u64>,
    /// The one whose second argument was `marked`.
    pub marked: Option<u32>,
    /// From the first to the last.
    pub seconds: f64,
    /// Of one worker, from one life to the next, in µs.
    pub us_per_life: f64,
}

/// A storm under way.
pub struct Storm(Child);

impl Storm {
    /// Starts one with these arguments, over and over `program`.
    pub fn start(arguments: &[&str], program: &Path) -> Result<Self> {
        let mut command = Command::new(Path::new(BIN).join("storm"));
        command.args(arguments).arg(program).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self(command.spawn().context("cannot start the storm")?))
    }

    /// Ends it before its time.
    pub fn end(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits for its end.
    pub fn account(self) -> Result<Account> {
        let output = self.0.wait_with_output()?;
        ensure!(output.status.success(), "the storm failed: {}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// A whole storm.
pub fn run(arguments: &[&str], program: &Path) -> Result<Account> {
    Storm::start(arguments, program)?.account()
}
