//! The web service, as an unprivileged user.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::world::{BIN, SERVICE_HOME, SERVICE_USER};

/// Its executable.
pub const PROGRAM: &str = "/srv/app/next-server";

/// The running service.
pub struct Victim(Child);

impl Victim {
    /// Starts it, with this PATH, and waits until it listens.
    pub fn serve(path: &str) -> Result<Self> {
        let dashboard = format!("{SERVICE_HOME}/dashboard");
        fs::create_dir_all(&dashboard)?;
        chown(&dashboard, Some(SERVICE_USER), Some(SERVICE_USER))?;
        fs::create_dir_all("/srv/app")?;
        fs::copy(format!("{BIN}/next-server"), PROGRAM)?;
        let mut child = Command::new(PROGRAM)
            .uid(SERVICE_USER)
            .gid(SERVICE_USER)
            .current_dir(&dashboard)
            .env("HOME", SERVICE_HOME)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the service")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the service did not start: {line}");
        Ok(Self(child))
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it.
    pub fn end(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.end());
    }
}
