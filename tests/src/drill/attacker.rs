//! The attacker's host: payloads, call-backs, and the requests that come from there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::net::{Namespace, VICTIM};
use crate::world::BIN;
use crate::{http, wait};

/// What it serves.
pub const PAYLOADS: [&str; 3] = ["x", "vim", "flash"];
const ACTORS: [&str; 3] = ["miner", "implant", "flash"];
const FOLDER: &str = "/srv/attacker";

/// One call-back as the attacker saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Callback {
    /// When it was accepted, in nanoseconds since 1970.
    pub time: u128,
    /// The address it came from.
    pub ip: String,
    /// And the port.
    pub port: u16,
    /// The pid that the caller said it has.
    pub pid: u32,
}

/// The other host.
pub struct Attacker {
    network: Namespace,
    server: Child,
    seen: Arc<Mutex<Vec<Callback>>>,
    reader: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Makes its network and starts its server there.
    pub fn arrive() -> Result<Self> {
        fs::create_dir_all(FOLDER)?;
        for (actor, payload) in ACTORS.iter().zip(PAYLOADS) {
            fs::copy(format!("{BIN}/{actor}"), format!("{FOLDER}/{payload}"))
                .with_context(|| format!("no actor {actor}"))?;
        }
        let network = Namespace::attacker()?;
        let mut command = Command::new(format!("{BIN}/attacker"));
        command.arg(FOLDER).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = network.spawn(&mut command)?;
        let mut words = BufReader::new(server.stdout.take().context("no stdout")?);
        let mut first = String::new();
        words.read_line(&mut first)?;
        ensure!(first.trim() == "ready", "the attacker's server did not start: {first}");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let reader = thread::spawn(move || {
            for line in words.lines().map_while(Result::ok) {
                if let Some(callback) = callback(&line) {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).push(callback);
                }
            }
        });
        Ok(Self { network, server, seen, reader: Some(reader) })
    }

    /// Sends one request whose command the service runs; answers what the command printed.
    pub fn send(&self, command: &str) -> Result<String> {
        let target = format!("/run?cmd={}", http::encode(command));
        let body = self.network.run(|| http::get(&format!("{VICTIM}:3000"), &target))??;
        Ok(String::from_utf8(body)?)
    }

    /// Waits for that many call-backs.
    pub fn await_callbacks(&self, count: usize, patience: Duration) -> Result<()> {
        wait::until(&format!("{count} call-backs"), patience, || {
            Ok((self.callbacks().len() >= count).then_some(()))
        })
    }

    /// Where a payload is on the attacker's side.
    pub fn payload(&self, name: &str) -> PathBuf {
        PathBuf::from(FOLDER).join(name)
    }

    /// Ends the server; every call-back it has seen.
    pub fn leave(&mut self) -> Result<Vec<Callback>> {
        self.server.kill()?;
        self.server.wait()?;
        if self.reader.take().is_some_and(|reader| reader.join().is_err()) {
            bail!("the reader of the attacker's words panicked");
        }
        Ok(self.callbacks())
    }

    fn callbacks(&self) -> Vec<Callback> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

fn callback(line: &str) -> Option<Callback> {
    let mut words = line.strip_prefix("callback ")?.split(' ');
    Some(Callback {
        time: words.next()?.parse().ok()?,
        ip: words.next()?.to_owned(),
        port: words.next()?.parse().ok()?,
        pid: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_back_is_read_and_other_words_are_not() {
        let callback_ = callback("callback 17 192.0.2.10 40000 23").unwrap();
        assert_eq!((callback_.time, callback_.port, callback_.pid), (17, 40000, 23));
        for line in ["", "served /x", "callback", "callback 17 192.0.2.10 40000 ", "callback x y z"] {
            assert_eq!(callback(line), None, "{line}");
        }
    }
}
