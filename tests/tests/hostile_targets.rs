//! Targets that are hard to read: each capture ends within its deadline, says what became of it, and the recorder loses
//! nothing meanwhile.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use std::{cell::Cell, fs};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::agent::{self, Agent};
use e2e::events::nothing_was_lost;
use e2e::frozen::{self, status};
use e2e::hostile::{Account, Hostile};
use e2e::{story, wait, world};
use nix::sys::signal::Signal;
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
/// The bound of each capture (a debug build on a busy machine), and how much later it is sealed.
const DEADLINE: Duration = Duration::from_secs(40);
const SEALING: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(20);
const PAGE: usize = 4096;
const PATTERN: &[u8] = b"afterimage-drill-pattern-0123456";

/// An agent, and how many captures it has made.
struct Scene {
    agent: Agent,
    captures: Cell<u32>,
}

impl Scene {
    fn begin() -> Result<Self> {
        fs::create_dir_all("/etc/afterimage")?;
        let config = format!("[capture]\ndeadline_s = {}\n", DEADLINE.as_secs());
        fs::write("/etc/afterimage/afterimage.toml", config)?;
        Ok(Self { agent: Agent::start(&story::program(), Path::new(LOG))?, captures: Cell::new(0) })
    }

    /// A capture of `pid`, which ends in time and complete.
    fn capture(&self, pid: u32) -> Result<Account> {
        let begun = Instant::now();
        let bundle = self.agent.capture(&["--pid", &pid.to_string()])?;
        let took = begun.elapsed();
        ensure!(took < DEADLINE + SEALING, "it took {took:?}");
        let account = self.account(&bundle)?;
        account.is_complete()?;
        println!("captured in {took:?}");
        Ok(account)
    }

    fn account(&self, bundle: &Path) -> Result<Account> {
        self.captures.set(self.captures.get() + 1);
        let folder = PathBuf::from(format!("/var/tmp/bag{}", self.captures.get()));
        let account = Account::of(bundle, &folder)?;
        fs::remove_file(bundle)?;
        Ok(account)
    }

    fn end(self) -> Result<()> {
        self.agent.history_flushed()?;
        self.agent.stop()?;
        nothing_was_lost(&agent::history(&story::program())?)
    }
}

#[test]
fn memory_that_whoever_touches_it_waits_for() {
    world::inside("memory_that_whoever_touches_it_waits_for", || {
        let scene = Scene::begin()?;
        userfault(&scene).context("a page of userfaultfd")?;
        fuse(&scene).context("a file of a file system that does not answer")?;
        scene.end()
    });
}

fn userfault(scene: &Scene) -> Result<()> {
    let mut target = Hostile::start(&["userfault"])?;
    let account = scene.capture(target.pid())?;
    expect(&account, target.pid(), "memory", "ok", "")?;
    has_pattern(&account, target.pid())?;
    let said = target.last_words()?;
    ensure!(said["asked"] == false, "its handler was asked for a page: {said}");
    Ok(())
}

fn fuse(scene: &Scene) -> Result<()> {
    let folder = "/srv/fuse";
    fs::create_dir_all(folder)?;
    let mut server = Hostile::start(&["fuse", folder])?;
    let target = Hostile::start(&["mapped", &format!("{folder}/file")])?;
    ensure!(target.report["first"] == u64::from(b'F'), "the file is not served: {}", target.report);
    server.tell("be silent")?;
    let account = scene.capture(target.pid())?;
    expect(&account, target.pid(), "memory", "partial", "a network or user-space file system")?;
    has_pattern(&account, target.pid())?;
    expect(&account, target.pid(), "maps", "ok", "")?;
    expect(&account, target.pid(), "fd", "ok", "")?;
    // Else the target's end would wait for an answer.
    drop(server);
    Ok(())
}

#[test]
fn more_mappings_and_threads_than_anybody_has() {
    world::inside("more_mappings_and_threads_than_anybody_has", || {
        let scene = Scene::begin()?;
        mappings(&scene).context("65,000 mappings")?;
        threads(&scene).context("10,000 threads")?;
        scene.end()
    });
}

fn mappings(scene: &Scene) -> Result<()> {
    let target = Hostile::start(&["mappings", "65000"])?;
    ensure!(target.report["mappings"].as_u64() > Some(65_000), "{}", target.report);
    let account = scene.capture(target.pid())?;
    expect(&account, target.pid(), "memory", "ok", "")?;
    has_pattern(&account, target.pid())?;
    let listed = account.file(target.pid(), "maps")?;
    let lines = u64::try_from(listed.split(|&byte| byte == b'\n').count())?;
    ensure!(Some(lines) > target.report["mappings"].as_u64(), "{lines} lines of maps");
    Ok(())
}

fn threads(scene: &Scene) -> Result<()> {
    let target = Hostile::start(&["threads", "9998"])?;
    let account = scene.capture(target.pid())?;
    let report: Value = serde_json::from_slice(&account.file(target.pid(), "core.json")?)?;
    ensure!(
        report["threads"] == 10_000 && report["stopped"] == 10_000,
        "{} threads, {} stopped, such as {:?}",
        report["threads"],
        report["stopped"],
        report["not_stopped"].as_array().and_then(|all| all.first())
    );
    expect(&account, target.pid(), "memory", "ok", "")?;
    let listed: Value = serde_json::from_slice(&account.file(target.pid(), "threads.json")?)?;
    ensure!(listed.as_array().map(Vec::len) == Some(10_000), "not all are listed");
    let frozen = account.frozen(target.pid());
    println!("10,000 threads: {}", frozen.first().context("it was not held")?);
    Ok(())
}

#[test]
fn targets_that_do_not_stay_as_they_are() {
    world::inside("targets_that_do_not_stay_as_they_are", || {
        let scene = Scene::begin()?;
        headless(&scene).context("a leader that has ended")?;
        executes(&scene).context("one that executes")?;
        forks(&scene).context("one that forks")?;
        dies(&scene).context("one that dies")?;
        scene.end()
    });
}

/// The first thread is a zombie; all there is, is read through another one.
fn headless(scene: &Scene) -> Result<()> {
    let target = Hostile::start(&["headless"])?;
    let pid = target.pid();
    wait::until("a zombie", PATIENCE, || Ok(status(pid, "State")?.starts_with('Z').then_some(())))?;
    let account = scene.capture(pid)?;
    has_pattern(&account, pid)?;
    let command_line = account.file(pid, "cmdline")?;
    ensure!(command_line.ends_with(b"hostile\0headless\0"), "{:?}", String::from_utf8_lossy(&command_line));
    for what in ["cmdline", "environ", "maps", "fd", "ns", "exe"] {
        expect(&account, pid, what, "ok", "")?;
    }
    ensure!(!account.file(pid, "exe")?.is_empty(), "its executable is empty");
    expect(&account, pid, "smear", "ok", "its leader has ended, it was read through thread")?;
    let (outcome, detail) = account.outcome(pid, "memory")?;
    ensure!(matches!(outcome, "ok" | "partial"), "memory: {outcome} {detail}");
    ensure!(status(pid, "State")?.starts_with('Z'), "it has changed");
    Ok(())
}

/// It is read as it is at one moment, or it is said that it changed.
fn executes(scene: &Scene) -> Result<()> {
    let target = Hostile::start(&["executes"])?;
    let mut told = 0;
    for _ in 0..4 {
        let account = scene.capture(target.pid())?;
        let (outcome, detail) = account.outcome(target.pid(), "memory")?;
        println!("executes: memory {outcome} {detail}");
        ensure!(matches!(outcome, "ok" | "partial" | "gone"), "{outcome} {detail}");
        let (outcome, detail) = account.outcome(target.pid(), "smear")?;
        if outcome == "partial" {
            ensure!(detail.contains("executed another program"), "{detail}");
            told += 1;
        }
    }
    ensure!(told > 0, "it executes some hundred times a second, and no record says so");
    Ok(())
}

fn forks(scene: &Scene) -> Result<()> {
    let target = Hostile::start(&["forks"])?;
    let account = scene.capture(target.pid())?;
    expect(&account, target.pid(), "memory", "ok", "")?;
    expect(&account, target.pid(), "cmdline", "ok", "")
}

/// It dies while it is read: sooner or later in it.
fn dies(scene: &Scene) -> Result<()> {
    let mut gone = 0;
    for ms in [0, 50, 150, 300, 600] {
        let target = Hostile::start(&["threads", "50"])?;
        let pid = target.pid();
        let account = thread::scope(|scope| {
            let agent = &scene.agent;
            let capture = scope.spawn(move || agent.capture(&["--pid", &pid.to_string()]));
            thread::sleep(Duration::from_millis(ms));
            frozen::signal(pid, Signal::SIGKILL)?;
            scene.account(&capture.join().map_err(|_| anyhow!("the capture panicked"))??)
        })?;
        account.is_complete()?;
        let attempts = account.manifest["attempts"].as_array().context("no attempts")?;
        let own = attempts.iter().filter(|attempt| {
            attempt["subject"].as_str().is_some_and(|subject| subject.starts_with(&format!("{pid}-")))
        });
        for attempt in own {
            let outcome = attempt["outcome"].as_str().unwrap_or_default();
            ensure!(matches!(outcome, "ok" | "partial" | "gone"), "{attempt}");
            gone += u32::from(outcome == "gone");
        }
    }
    ensure!(gone > 0, "five processes died while they were read, and nothing was gone");
    Ok(())
}

#[test]
fn targets_that_somebody_else_holds() {
    world::inside("targets_that_somebody_else_holds", || {
        let scene = Scene::begin()?;
        let target = Hostile::start(&["quiet"])?;
        let pid = target.pid();
        let tracer = Hostile::start(&["traces", &pid.to_string()])?;
        let account = scene.capture(pid)?;
        expect(&account, pid, "memory", "partial", &format!("it is traced by pid {}", tracer.pid()))?;
        ensure!(account.frozen(pid).is_empty(), "{:?}", account.frozen(pid));
        ensure!(status(pid, "TracerPid")? == tracer.pid().to_string(), "its tracer has changed");
        ensure!(status(pid, "State")?.starts_with('S'), "it does not run: {}", status(pid, "State")?);
        drop(tracer);

        frozen::signal(pid, Signal::SIGSTOP)?;
        let stopped = || Ok(status(pid, "State")?.starts_with('T').then_some(()));
        wait::until("its stop", PATIENCE, stopped)?;
        let account = scene.capture(pid)?;
        expect(&account, pid, "memory", "ok", "it was stopped before, and stays so")?;
        let frozen = account.frozen(pid);
        ensure!(frozen.len() == 1 && frozen[0]["method"] == "ptrace", "{frozen:?}");
        ensure!(stopped()?.is_some(), "it was stopped, and is {}", status(pid, "State")?);
        scene.end()
    });
}

fn expect(account: &Account, pid: u32, what: &str, outcome: &str, words: &str) -> Result<()> {
    let found = account.outcome(pid, what)?;
    ensure!(found.0 == outcome && found.1.contains(words), "{what} of {pid}: {found:?}");
    Ok(())
}

/// Fails unless the core has a page full of the pattern.
fn has_pattern(account: &Account, pid: u32) -> Result<()> {
    let core = account.file(pid, "core")?;
    let page = PATTERN.repeat(PAGE / PATTERN.len());
    let there = core.chunks(PAGE).any(|chunk| chunk == page) || find(&core, &page);
    ensure!(there, "its known page is not in the core of {} bytes", core.len());
    Ok(())
}

fn find(core: &[u8], page: &[u8]) -> bool {
    core.windows(PATTERN.len())
        .enumerate()
        .filter(|(_, window)| *window == PATTERN)
        .any(|(at, _)| core.get(at..at + page.len()) == Some(page))
}
