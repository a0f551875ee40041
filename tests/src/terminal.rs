//! A program that believes it speaks to a person: it has a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;
use std::{io, sync::mpsc, thread};

use anyhow::{Context, Result};
use nix::pty::openpty;

use crate::wait;

const PATIENCE: Duration = Duration::from_secs(30);

/// The program, and our end of the terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
}

impl Terminal {
    /// Starts `program` in a session of its own, with the terminal as its controlling one.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let pty = openpty(None, None).context("openpty")?;
        let (ours, theirs) = (File::from(pty.master), File::from(pty.slave));
        let mut command = Command::new(program);
        command.args(arguments).stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        command.env("PS1", "$ ").env("TERM", "dumb");
        // SAFETY: both calls are safe between fork and exec, and touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                match libc::ioctl(io::stdin().as_raw_fd(), libc::TIOCSCTTY, 0) {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                }
            });
        }
        let child = command.spawn().with_context(|| format!("start {program} in a terminal"))?;
        drop(command);
        let keyboard = ours.try_clone()?;
        let (sender, screen) = mpsc::sync_channel(1024);
        thread::spawn(move || watch(ours, &sender));
        Ok(Self { child, keyboard, screen })
    }

    /// Types the lines, and reads until `sign` was on the screen.
    pub fn converse(&mut self, lines: &[String], sign: &str) -> Result<String> {
        for line in lines {
            writeln!(self.keyboard, "{line}")?;
        }
        let mut said = Vec::new();
        wait::until(&format!("`{sign}` on the terminal"), PATIENCE, || {
            said.extend(self.screen.try_iter().flatten());
            let text = String::from_utf8_lossy(&said);
            Ok(text.contains(sign).then(|| text.into_owned()))
        })
    }
}

/// Until the last program of the terminal has gone.
fn watch(mut screen: File, sender: &mpsc::SyncSender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count) = screen.read(&mut buffer)
        && count > 0
        && sender.send(buffer.get(..count).unwrap_or_default().to_vec()).is_ok()
    {}
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
