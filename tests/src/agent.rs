//! The agent, as a user has it: a program with a command line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wait;

/// How long it may take to watch, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Programs of the probe without which the history would not be one; of each line one will do.
const INDISPENSABLE: [&[&str]; 5] =
    [&["exec"], &["fork"], &["exit"], &["tcp"], &["accepted2", "accepted4", "calls"]];

/// A running recorder.
pub struct Agent {
    program: PathBuf,
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts `afterimage run` and waits until it says that it watches.
    pub fn start(program: &Path, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut agent = Self { program: program.to_owned(), child, log: log.to_owned() };
        if let Err(error) = agent.await_ready().and_then(|()| agent.self_check()) {
            bail!("the agent does not watch: {error:#}\nits log:\n{}", agent.log());
        }
        Ok(agent)
    }

    fn await_ready(&mut self) -> Result<()> {
        wait::until("the recorder to answer", PATIENCE, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            Ok(self.ask(&["status", "--json"])?.status.success().then_some(()))
        })
    }

    /// What the probe's check of itself found: fails unless every indispensable program agreed with /proc.
    pub fn self_check(&self) -> Result<()> {
        let status = self.status()?;
        let programs =
            status["probe"]["programs"].as_array().with_context(|| format!("it is blind: {status}"))?;
        for names in INDISPENSABLE {
            let mut those =
                programs.iter().filter(|program| names.iter().any(|name| program["name"] == *name));
            let sees = those
                .any(|program| program["fate"]["state"] == "attached" && program["self_check"].is_string());
            ensure!(sees, "none of {names:?} is attached and checked: {programs:?}");
        }
        let detached = programs.iter().find(|program| program["fate"]["state"] == "detached");
        ensure!(detached.is_none(), "a program disagreed with /proc: {detached:?}");
        Ok(())
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs another command of the same binary; whatever becomes of it.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        ask(&self.program, arguments)
    }

    /// `status --json`.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&succeed(&self.program, &["status", "--json"])?)?)
    }

    /// `history --json`: one event per line.
    pub fn history(&self) -> Result<Vec<Value>> {
        history(&self.program)
    }

    /// Makes it take in all that has happened up to now.
    pub fn history_flushed(&self) -> Result<()> {
        succeed(&self.program, &["history", "--since", "0s", "--json"]).map(drop)
    }

    /// Takes a capture and answers the path of its bundle.
    pub fn capture(&self, arguments: &[&str]) -> Result<PathBuf> {
        let text = succeed(&self.program, &[&["capture", "--json"], arguments].concat())?;
        let answer: Value = serde_json::from_slice(&text)?;
        let file = answer["file"].as_str().with_context(|| format!("no file in {answer}"))?;
        Ok(PathBuf::from(file))
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), Signal::SIGTERM)?;
        let status = wait::until("the recorder to stop", PATIENCE, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "the recorder stopped badly: {status}\n{}", self.log());
        Ok(())
    }

    /// Kills it, as a power failure would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        let status = self.child.wait()?;
        ensure!(status.signal() == Some(9), "it was already gone: {status}\n{}", self.log());
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `history --json` needs no recorder: it reads what is on disk.
pub fn history(program: &Path) -> Result<Vec<Value>> {
    let text = succeed(program, &["history", "--json"])?;
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

/// The same, an event at a time and only what `T` names of it: a storm's history does not fit into memory whole.
pub fn each_event<T: DeserializeOwned>(program: &Path, mut sink: impl FnMut(T) -> Result<()>) -> Result<()> {
    let mut child = Command::new(program)
        .args(["history", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let events = child.stdout.take().context("no stdout")?;
    let mut lines = BufReader::with_capacity(1 << 20, events);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        sink(serde_json::from_slice(&line).with_context(|| String::from_utf8_lossy(&line).into_owned())?)?;
        line.clear();
    }
    let status = child.wait()?;
    ensure!(status.success(), "`afterimage history --json` failed: {status}");
    Ok(())
}

/// Runs one command of the agent.
pub fn ask(program: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().with_context(|| format!("cannot start {}", program.display()))
}

/// Runs one command that must succeed; its standard output.
pub fn succeed(program: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = ask(program, arguments)?;
    ensure!(
        output.status.success(),
        "`afterimage {}` failed: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}
