//! What is done while somebody watches: always the same, and timed by itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::exec_storm;
use crate::world::BIN;

/// A real dynamic program of the distribution.
const TRUE: &str = "/usr/bin/true";
const COPIES: &str = "/var/tmp/first";

/// One load.
#[derive(Clone, Copy)]
pub enum Load {
    /// The worst for whoever watches processes: a static program that exits at once, from both cores.
    Storm,
    /// A program that was never run before, each time: fresh copies of a dynamic program, each with its own content.
    First,
    /// A connection over loopback, accepted and closed.
    Connect,
}

impl Load {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Storm => "exec storm of a known static binary",
            Self::First => "exec of a first-time file",
            Self::Connect => "connect and close on loopback",
        }
    }

    /// The goal for the agent: the ratio to nobody watching.
    pub fn goal(self) -> f64 {
        match self {
            Self::Storm | Self::Connect => 1.03,
            Self::First => 1.25,
        }
    }

    /// Runs it once; µs of one process life or connection.
    pub fn run(self) -> Result<f64> {
        match self {
            Self::Storm => {
                Ok(exec_storm::run(&["--times", "4000"], &Path::new(BIN).join("brief"))?.us_per_life)
            }
            Self::First => Ok(exec_storm::run(&[], Path::new(COPIES))?.us_per_life),
            Self::Connect => dial(30_000),
        }
    }

    /// What has to be there before the clock runs.
    pub fn prepare(self) -> Result<()> {
        match self {
            Self::First => copies(800),
            Self::Storm | Self::Connect => Ok(()),
        }
    }
}

/// Programs that nobody has run, with contents that nobody has seen.
fn copies(count: u32) -> Result<()> {
    let folder = PathBuf::from(COPIES);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    for number in 0..count {
        let path = folder.join(format!("true-{number}"));
        fs::copy(TRUE, &path).with_context(|| format!("copy {TRUE} to {}", path.display()))?;
        write!(OpenOptions::new().append(true).open(&path)?, "{unique}-{number}")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn dial(times: u32) -> Result<f64> {
    let output = Command::new(Path::new(BIN).join("dial")).args(["--times", &times.to_string()]).output()?;
    ensure!(output.status.success(), "dial failed: {}", String::from_utf8_lossy(&output.stderr));
    let account: Value = serde_json::from_slice(&output.stdout)?;
    account["us_each"].as_f64().context("no time")
}
