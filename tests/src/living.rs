//! The second scene: a target that lives while it is captured, and a program that exists in memory only.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::digest::sha256;
use crate::proc::Seen;
use crate::wait;
use crate::world::BIN;

/// The variable the worker is started with.
pub const VARIABLE: (&str, &str) = ("DRILL_SECRET", "a value with = and spaces");

/// A worker whose memory, environment and descriptors are known.
pub struct Worker {
    child: Child,
    /// What it says of itself: see tests/src/bin/worker.rs.
    pub report: Value,
    /// What /proc says of it.
    pub seen: Seen,
}

impl Worker {
    /// Starts it and waits for its report.
    pub fn start() -> Result<Self> {
        Self::with_memory(0)
    }

    /// The same, with so much more memory, of bytes that do not compress.
    pub fn with_memory(mebibytes: usize) -> Result<Self> {
        let mut child = Command::new(format!("{BIN}/worker"))
            .args(["/tmp/deleted-but-open", &mebibytes.to_string()])
            .env_clear()
            .env(VARIABLE.0, VARIABLE.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the worker")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let report = serde_json::from_str(&line).with_context(|| format!("the worker said {line}"))?;
        let seen = Seen::of(child.id())?;
        Ok(Self { child, report, seen })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program that runs from a memfd.
pub struct Ghost {
    child: Child,
    /// What /proc says of it.
    pub seen: Seen,
    /// SHA-256 of what it runs.
    pub sha256: String,
}

impl Ghost {
    /// Starts the miner from memory.
    pub fn start() -> Result<Self> {
        let payload = format!("{BIN}/miner");
        let mut child = Command::new(format!("{BIN}/ghost"))
            .arg(&payload)
            .env("HOME", "/tmp/ghost-home")
            .stdin(Stdio::null())
            .spawn()
            .context("start the ghost")?;
        let seen = wait::until("the ghost to run from memory", Duration::from_secs(10), || {
            ensure!(child.try_wait()?.is_none(), "the ghost ended");
            Ok(Seen::of(child.id()).ok().filter(|seen| seen.exe.starts_with("/memfd:")))
        })?;
        Ok(Self { child, seen, sha256: sha256(Path::new(&payload))? })
    }
}

impl Drop for Ghost {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
