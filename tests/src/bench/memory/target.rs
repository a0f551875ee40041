//! Whose memory is taken.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait;
use crate::world::BIN;

/// A living process, and what it says of its stops.
pub struct Target {
    child: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
    /// What it said first.
    pub said: String,
    /// Whether it answers with its longest stop.
    knows: bool,
}

impl Target {
    /// tests/src/bin/resident.rs
    pub fn resident(mebibytes: u32, reserved_gibibytes: u32) -> Result<Self> {
        let sizes = [mebibytes, reserved_gibibytes].map(|size| size.to_string());
        Self::start(Command::new(Path::new(BIN).join("resident")).args(sizes), true)
    }

    /// Debian's Node.js with some objects, and a beat of its own.
    pub fn node() -> Result<Self> {
        Self::start(Command::new("/usr/bin/node").args(["-e", include_str!("target.js")]), true)
    }

    /// A real Go program, which reserves far more than it uses: age, waiting for what it shall encrypt.
    pub fn go() -> Result<Self> {
        let mut command = Command::new("/usr/bin/age");
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let target = Self::start(command.args(["-a", "-r", recipient]), false)?;
        // Its header is out: it waits for more.
        ensure!(target.said.starts_with("-----BEGIN"), "age said {}", target.said);
        Ok(target)
    }

    fn start(command: &mut Command, knows: bool) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}: `cargo xtask setup` installs it"))?;
        let input = child.stdin.take().context("no stdin")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut said = String::new();
        lines.read_line(&mut said)?;
        Ok(Self { child, input, lines, said, knows })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The longest time in seconds for which it did not run since it was asked before, if it knows.
    pub fn longest_stop(&mut self) -> Result<Option<f64>> {
        if !self.knows {
            return Ok(None);
        }
        self.input.write_all(b"\n")?;
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        let micros: f64 = line.trim().parse().with_context(|| format!("the target said {line:?}"))?;
        Ok(Some(micros / 1e6))
    }

    /// Resident memory, MiB.
    pub fn resident_mib(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Waits until a second look shows as much memory as the first: what has just started still grows.
    pub fn settle(&self) -> Result<()> {
        let mut last = 0.0;
        wait::until("the target to settle", Duration::from_secs(20), || {
            let now = self.resident_mib()?;
            Ok((std::mem::replace(&mut last, now) == now).then_some(()))
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
