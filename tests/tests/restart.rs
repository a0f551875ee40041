//! The recorder is killed at random moments under load: the history loses less than a second, and joins on.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::agent::{self, Agent};
use e2e::{story, wait, world};
use jiff::Timestamp;
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const HISTORY: &str = "/var/lib/afterimage/history";
const KILLS: u64 = 20;
/// What a kill may cost.
const LAST: Duration = Duration::from_secs(1);
/// The goal is 2 s, which the benchmark holds a release build to; this one is not optimised, and shares the machine.
const RESTART: Duration = Duration::from_secs(20);

/// One process of the load: its pid, and when it had ended.
struct Life {
    pid: u32,
    ended: Timestamp,
}

#[test]
fn twenty_kills_cost_less_than_a_second_each_and_the_history_joins_on() {
    world::inside("twenty_kills_cost_less_than_a_second_each_and_the_history_joins_on", || {
        let program = story::program();
        let mut agent = Agent::start(&program, Path::new(LOG))?;
        let mut worst = Duration::ZERO;
        let mut lost_most = 0;
        for number in 0..KILLS {
            let watching = Timestamp::now();
            // Moments that follow no beat of the recorder's, the same at every run.
            let run = Duration::from_millis(700 + number * 7919 % 1300);
            let (killed, lives) = under_load(run, || agent.kill())?;
            let seen = exits(&program, watching)?;
            let due = lives.iter().filter(|life| life.ended > watching && life.ended + LAST < killed);
            let missing: Vec<_> = due.clone().filter(|life| !seen.contains(&life.pid)).collect();
            ensure!(due.clone().count() > 0 || run < LAST + Duration::from_millis(200), "no load");
            ensure!(
                missing.is_empty(),
                "kill {number}: {} ended a second before it and are not there",
                missing.len()
            );
            let since = lives
                .iter()
                .filter(|life| life.ended < killed && !seen.contains(&life.pid))
                .map(|life| life.ended);
            lost_most =
                lost_most.max(since.min().map_or(0, |first| killed.duration_since(first).as_millis()));
            whole_lines()?;
            let begun = Instant::now();
            agent = started(&program)?;
            worst = worst.max(begun.elapsed());
        }
        joins_on(&program, &agent)?;
        println!("{KILLS} kills: at most the last {lost_most} ms lost; the slowest restart took {worst:.1?}");
        ensure!(worst < RESTART, "a restart took {worst:?}");
        agent.stop()
    });
}

/// Runs children as fast as it can for `run`, then kills the recorder, and goes on for a moment.
fn under_load(run: Duration, kill: impl FnOnce() -> Result<()>) -> Result<(Timestamp, Vec<Life>)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<Vec<Life>> {
            let mut lives = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let mut child = child()?;
                child.wait()?;
                lives.push(Life { pid: child.id(), ended: Timestamp::now() });
            }
            Ok(lives)
        });
        thread::sleep(run);
        let killed = Timestamp::now();
        let outcome = kill();
        over.store(true, Ordering::Relaxed);
        let lives = load.join().map_err(|_| anyhow!("the load panicked"))??;
        outcome?;
        Ok((killed, lives))
    })
}

fn child() -> Result<Child> {
    let mut command = Command::new("/usr/bin/true");
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?)
}

/// The pids of all whose end is in the history since then: so short a time that no pid comes again.
fn exits(program: &Path, since: Timestamp) -> Result<HashSet<u32>> {
    let text = agent::succeed(program, &["history", "--json", "--since", &since.to_string()])?;
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let events: Vec<Value> = lines.map(serde_json::from_slice).collect::<Result<_, _>>()?;
    let exits = events.iter().filter(|event| event["event.action"] == "exit");
    exits.map(|event| Ok(u32::try_from(event["process.pid"].as_u64().context("no pid")?)?)).collect()
}

/// Fails unless what zstd alone gives of each segment is whole lines of JSON, but for a tail that was cut.
fn whole_lines() -> Result<()> {
    for path in segments()? {
        let output = Command::new("zstd").args(["-dcq"]).arg(&path).output().context("start zstd")?;
        let (lines, tail) = match output.stdout.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => output.stdout.split_at(end + 1),
            None => (&[][..], &output.stdout[..]),
        };
        ensure!(
            tail.is_empty() || !output.status.success(),
            "{} is whole and ends within a line",
            path.display()
        );
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<Value>(line).with_context(|| format!("{}", path.display()))?;
        }
    }
    Ok(())
}

fn segments() -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(HISTORY)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.to_string_lossy().ends_with(".jsonl.zst")).collect())
}

fn started(program: &Path) -> Result<Agent> {
    Agent::start(program, Path::new(LOG))
}

/// Fails unless each silence is dated, and what happened before the first kill and after the last is in one history, also
/// where segments have been compacted meanwhile.
fn joins_on(program: &Path, agent: &Agent) -> Result<()> {
    let since = Timestamp::now();
    let mut child = child()?;
    child.wait()?;
    let pid = child.id();
    wait::until("the end of a child of after the last kill", Duration::from_secs(20), || {
        Ok(exits(program, since)?.contains(&pid).then_some(()))
    })?;
    let events = agent.history()?;
    let gaps: Vec<_> = events.iter().filter(|event| event["event.action"] == "gap").collect();
    ensure!(u64::try_from(gaps.len())? >= KILLS, "{} gaps of {KILLS} are said", gaps.len());
    let before = events.len();
    // What the recorder does by itself every half minute.
    agent::succeed(program, &["compact", HISTORY])?;
    let indexes = fs::read_dir(HISTORY)?.flatten();
    let indexes =
        indexes.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "index"));
    ensure!(u64::try_from(indexes.count())? >= KILLS, "the closed segments are compacted");
    ensure!(agent.history()?.len() >= before, "compacting lost events");
    Ok(())
}
