//! `cargo xtask bench trigger`: from a request on the recorder's socket until the tree and the maps of whom it means are
//! in the bundle in the making, and the executable is held.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use serde_json::{Value, json};

use super::figure::Figure;
use crate::agent::Agent;
use crate::{net, story};

const SOCKET: &str = "/run/afterimage/afterimage.sock";
const STORE: &str = "/var/lib/afterimage/bundles";
const ROUNDS: usize = 100;
/// So many other processes are on the host.
const OTHERS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);
const MEDIAN_MS: f64 = 10.0;
const P99_MS: f64 = 50.0;

/// Ended when dropped; it ends by itself as well.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Result<Self> {
        let mut command = Command::new("/usr/bin/sleep");
        Ok(Self(command.arg("150").stdin(Stdio::null()).spawn().context("start sleep")?))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Asks again and again, each time about another process.
pub fn measure() -> Result<Vec<Figure>> {
    net::loopback_up()?;
    fs::create_dir_all("/etc/afterimage")?;
    fs::write("/etc/afterimage/afterimage.toml", "[captures]\nreserve_bytes = 1\n[door]\nenabled = false\n")?;
    let agent = Agent::start(&story::program(), "/tmp/agent.log".as_ref())?;
    let others = (0..OTHERS).map(|_| Sleeper::start()).collect::<Result<Vec<_>>>()?;
    agent.history_flushed()?;
    let mut times = Vec::new();
    for other in others.iter().cycle().take(ROUNDS) {
        times.push(once(other.0.id())?);
    }
    times.sort_by(f64::total_cmp);
    let at =
        |part: usize| times.get((times.len() * part / 100).min(times.len() - 1)).copied().unwrap_or_default();
    let note = format!(
        "{ROUNDS} requests, {OTHERS} other processes; seen from outside, in the journal of the bundle in \
                        the making, which is written after what it tells of"
    );
    let what = "from a trigger to tree and maps written and the executable held";
    Ok(vec![
        Figure::new(format!("{what}, median, ms"), at(50), format!("{:.1} (best {:.1})", at(50), at(0)))
            .at_most(MEDIAN_MS)
            .note(note),
        Figure::new(format!("{what}, p99, ms"), at(99), format!("{:.1}", at(99))).at_most(P99_MS),
    ])
}

/// One request; ms until all three are there. Ends when the bundle is sealed, so that captures do not overlap.
fn once(pid: u32) -> Result<f64> {
    let recorder = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(recorder.as_raw_fd(), &UnixAddr::new(SOCKET)?)?;
    let trigger =
        json!({ "sender": "person", "rule": "bench", "target": { "pid": pid }, "profile": "volatile" });
    let request = json!({ "capture": { "trigger": trigger, "to_given_directory": false, "wait": true } });
    // The first byte says that this is the last packet of the message.
    let packet = [&[0][..], &serde_json::to_vec(&request)?].concat();
    let begun = Instant::now();
    send(recorder.as_raw_fd(), &packet, MsgFlags::empty())?;
    let answer = hear(&recorder)?;
    let id = answer["accepted"]["id"].as_str().with_context(|| format!("not accepted: {answer}"))?;
    let journal = Path::new(STORE).join(format!("{id}.journal"));
    loop {
        if is_taken(&fs::read_to_string(&journal).unwrap_or_default(), pid) {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for the first artifacts of {id}");
        std::thread::sleep(Duration::from_micros(200));
    }
    let time = begun.elapsed();
    loop {
        let said = hear(&recorder)?;
        if said.get("sealed").is_some() {
            return Ok(time.as_secs_f64() * 1e3);
        }
        ensure!(said.get("progress").is_some(), "the capture failed: {said}");
    }
}

/// Whether the journal has the tree, the maps of `pid` and the word that its executable is held.
fn is_taken(journal: &str, pid: u32) -> bool {
    let mut found = HashSet::new();
    for line in journal.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let name = line["member"]["name"].as_str().unwrap_or_default();
        let attempt = &line["attempt"];
        if name == "data/first/tree.json" {
            found.insert("tree");
        } else if name.starts_with(&format!("data/first/{pid}-")) && name.ends_with("/maps") {
            found.insert("maps");
        } else if attempt["subject"].as_str().is_some_and(|subject| subject.ends_with("exe held"))
            && attempt["outcome"] == "ok"
        {
            found.insert("exe");
        }
    }
    found.len() == 3
}

fn hear(recorder: &OwnedFd) -> Result<Value> {
    let mut message = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = recv(recorder.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let Some((marker, chunk)) = buffer.get(..count).and_then(<[u8]>::split_first) else {
            bail!("the recorder has closed");
        };
        message.extend_from_slice(chunk);
        if *marker == 0 {
            return Ok(serde_json::from_slice(&message)?);
        }
    }
}
