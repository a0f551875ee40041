//! Processes that hold what a capture must say of: see tests/fixtures/holder.py.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::proc::Seen;

const SCRIPT: &str = include_str!("../fixtures/holder.py");

/// One of them.
pub struct Holder {
    child: Child,
    /// What it says that it holds.
    pub report: Value,
    /// What /proc says of it.
    pub seen: Seen,
}

impl Holder {
    /// Starts it in one of its roles: `hold`, `trace PID`, `elsewhere` (in a network namespace of its own).
    pub fn start(role: &[&str]) -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .args(role)
            .env("HOLDER_SECRET", "of this test")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start python3")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let report = serde_json::from_str(&line).with_context(|| format!("{role:?} said {line:?}"))?;
        let seen = Seen::of(child.id())?;
        Ok(Self { child, report, seen })
    }

    /// A number of the report.
    pub fn number(&self, key: &str) -> Result<u64> {
        self.report[key].as_u64().with_context(|| format!("no {key} in {}", self.report))
    }

    /// Its folder in a bundle.
    pub fn folder(&self) -> String {
        format!("data/process/{}-{}", self.seen.pid, self.seen.start)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
