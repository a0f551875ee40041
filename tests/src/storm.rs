//! Many processes, as fast as the machine can start them, each with a file of its own, and what the history says of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::tiny::{self, Tiny};

/// Where the agent keeps executables.
pub const STASH: &str = "/var/lib/afterimage/stash";
/// As many threads start processes as the machine of the tests has processors.
const THREADS: usize = 2;
/// Copies that are unpacked by one `zstd`.
const UNPACKED: usize = 500;

/// One process that was started, and how it ended.
pub struct Life {
    /// Its pid.
    pub pid: u32,
    /// Its exit code.
    pub code: Option<i32>,
}

/// Writes programs 0 to `count`.
pub fn write(folder: &Path, count: u32) -> Result<Vec<Tiny>> {
    fs::create_dir(folder)?;
    (0..count).map(|number| Tiny::write(folder, number)).collect()
}

/// Starts each of them once, as fast as the machine can, and waits for it.
pub fn run(all: &[Tiny]) -> Result<(Vec<Life>, Duration)> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let work = || -> Result<Vec<(usize, Life)>> {
        let mut lives = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(tiny) = all.get(number) else { return Ok(lives) };
            let mut child = Command::new(&tiny.path).arg(format!("number {number}")).spawn()?;
            let pid = child.id();
            lives.push((number, Life { pid, code: child.wait()?.code() }));
        }
    };
    let mut lives = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut lives = Vec::new();
        for thread in threads {
            lives.extend(thread.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        anyhow::Ok(lives)
    })?;
    let took = begun.elapsed();
    lives.sort_by_key(|(number, _)| *number);
    Ok((lives.into_iter().map(|(_, life)| life).collect(), took))
}

/// The events of each program, by its path.
pub struct Found<'a>(HashMap<&'a str, Events<'a>>);

#[derive(Default)]
struct Events<'a> {
    exec: Vec<&'a Value>,
    exit: Vec<&'a Value>,
    stash: Vec<&'a Value>,
}

impl<'a> Found<'a> {
    /// Sorts the events by program.
    pub fn of(events: &'a [Value], all: &'a [Tiny]) -> Result<Self> {
        let mut found: HashMap<&str, Events<'_>> =
            all.iter().map(|tiny| (path(tiny), Events::default())).collect();
        let mut paths: HashMap<&str, &str> = HashMap::new();
        for event in events {
            let id = event["process.entity_id"].as_str().context("an event without a process")?;
            let executable = event["process.executable"].as_str().unwrap_or_default();
            match event["event.action"].as_str() {
                Some("exec") => {
                    if let Some(of) = found.get_mut(executable) {
                        of.exec.push(event);
                        paths.insert(id, executable);
                    }
                }
                Some("stash") => {
                    if let Some(of) = paths.get(id).and_then(|path| found.get_mut(path)) {
                        of.stash.push(event);
                    }
                }
                Some("exit") => {
                    if let Some(of) = paths.get(id).and_then(|path| found.get_mut(path)) {
                        of.exit.push(event);
                    }
                }
                _ => {}
            }
        }
        Ok(Self(found))
    }

    /// Fails unless each is there once, with the right parent, arguments and exit code.
    pub fn compare(&self, all: &[Tiny], lives: &[Life]) -> Result<()> {
        let us = std::process::id();
        for ((number, tiny), life) in all.iter().enumerate().zip(lives) {
            let events = &self.0[path(tiny)];
            let ([exec], [exit]) = (&events.exec[..], &events.exit[..]) else {
                return Err(anyhow!("{}: {:?} {:?}", tiny.path.display(), events.exec, events.exit));
            };
            ensure!(exec["process.pid"] == life.pid, "{exec}: its pid was {}", life.pid);
            let args = [path(tiny), &format!("number {number}")];
            ensure!(exec["process.args"] == serde_json::json!(args), "{exec}: it had {args:?}");
            let parent = exec["process.parent.entity_id"].as_str().unwrap_or_default();
            ensure!(parent.split('-').nth(1) == Some(&us.to_string()), "{exec}: its parent was {us}");
            ensure!(exit["process.exit_code"] == tiny.code, "{exit}: its code was {}", tiny.code);
            ensure!(life.code == Some(i32::from(tiny.code)), "it ended with {:?}", life.code);
        }
        Ok(())
    }

    /// What the history says of its executable in the stash, once: in an event of its own, or with the exec, where the
    /// content was kept before the recorder came to read of the exec.
    pub fn sha256(&self, tiny: &Tiny) -> Option<&str> {
        let Events { exec, stash, .. } = &self.0[path(tiny)];
        let mut told = exec.iter().chain(stash).filter_map(|event| event["process.hash.sha256"].as_str());
        told.next().filter(|_| told.next().is_none())
    }

    /// Of how many the exec itself tells it.
    pub fn told_with_exec(&self) -> usize {
        let with_hash = |of: &&Events<'_>| of.exec.iter().any(|exec| exec["process.hash.sha256"].is_string());
        self.0.values().filter(with_hash).count()
    }

    /// How many executables are in the stash under their right hash.
    pub fn kept(&self, all: &[Tiny]) -> usize {
        all.iter().filter(|tiny| self.sha256(tiny) == Some(&tiny.sha256)).count()
    }

    /// How long they lived, in words.
    pub fn durations(&self) -> String {
        let time = |event: &Value| event["@timestamp"].as_str()?.parse::<jiff::Timestamp>().ok();
        let mut lives: Vec<i128> = self
            .0
            .values()
            .filter_map(|of| Some(time(of.exit.first()?)?.duration_since(time(of.exec.first()?)?).as_nanos()))
            .collect();
        lives.sort_unstable();
        let short = lives.iter().filter(|life| **life < 1_000_000).count();
        let median = lives.get(lives.len() / 2).copied().unwrap_or_default() / 1000;
        format!("{short} of {} lived under 1 ms, in the middle {median} µs", lives.len())
    }
}

/// Fails unless each content is in the stash, under its right name.
pub fn in_the_stash(all: &[Tiny]) -> Result<()> {
    for some in all.chunks(UNPACKED) {
        let files = some.iter().map(|tiny| format!("{STASH}/{}.zst", tiny.sha256));
        let output = Command::new("zstd").arg("-dcq").args(files).output()?;
        ensure!(output.status.success(), "zstd: {}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.stdout.len() == some.len() * tiny::BYTES);
        for (content, tiny) in output.stdout.chunks(tiny::BYTES).zip(some) {
            ensure!(tiny::hex(content) == tiny.sha256, "{}.zst has another content", tiny.sha256);
        }
    }
    Ok(())
}

fn path(tiny: &Tiny) -> &str {
    tiny.path.to_str().unwrap_or_default()
}
