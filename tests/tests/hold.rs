//! Programs that have no file: stopped before their first instruction, kept, and always let go.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::events::{Process, nothing_was_lost};
use e2e::proc::children;
use e2e::{elf, story, wait, world};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};

const PROGRAMS: usize = 1000;
const CODE: u8 = 42;
const LOG: &str = "/tmp/afterimage.log";
const PATIENCE: Duration = Duration::from_secs(60);

/// One program that was run from memory.
struct Ghost {
    pid: u32,
    number: usize,
    sha256: String,
}

#[test]
fn a_thousand_programs_without_a_file_are_kept() {
    world::inside("a_thousand_programs_without_a_file_are_kept", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let begun = Instant::now();
        let ghosts: Vec<Ghost> = (0..PROGRAMS).map(run).collect::<Result<_>>()?;
        let took = begun.elapsed() / u32::try_from(PROGRAMS)?;
        let kept = kept(&agent, &ghosts)?;
        println!("{} of {PROGRAMS} executables in the stash, {took:?} for each program", kept.len());
        ensure!(kept.len() == PROGRAMS, "not all were kept");
        let events = agent.history()?;
        nothing_was_lost(&events)?;
        for ghost in &ghosts {
            let process = Process::of_pid(&events, ghost.pid)?;
            let exec = process.one("exec")?;
            ensure!(exec["afterimage.hold"] == "stopped" && exec["afterimage.links"] == 0, "{exec}");
            ensure!(exec["process.args"][1].as_str() == Some(&*ghost.number.to_string()), "{exec}");
            ensure!(process.one("exit")?["process.exit_code"] == CODE, "it ended otherwise");
            // The fork's time is the birth, so it is of this process and not of an earlier one with this pid.
            process.one("fork")?;
        }
        agent.stop()
    });
}

#[test]
fn without_the_stop_many_are_missed_and_that_is_said() {
    world::inside("without_the_stop_many_are_missed_and_that_is_said", || {
        configure("[probe]\nhold = false\n")?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let ghosts: Vec<Ghost> = (0..PROGRAMS).map(run).collect::<Result<_>>()?;
        let kept = kept(&agent, &ghosts)?.len();
        let missed = agent.status()?["counts"]["recorder"]["stash_missed"].as_u64().context("no count")?;
        println!("with the protection switched off: {kept} of {PROGRAMS} executables in the stash");
        ensure!(missed as usize + kept >= PROGRAMS, "{kept} kept and {missed} missed are not all");
        agent.stop()
    });
}

#[test]
fn whoever_dies_nobody_stays_stopped() {
    world::inside("whoever_dies_nobody_stays_stopped", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new(LOG))?;
        // The recorder stands still: the thawer lets go.
        signal(agent.pid(), Signal::SIGSTOP)?;
        let mut ghost = start(0)?.0;
        let begun = Instant::now();
        ends(&mut ghost)?;
        println!("with the recorder stopped, let go after {:?}", begun.elapsed());
        // It has stood still for so long that nobody is stopped any more.
        wait::until("the heartbeat to be old", PATIENCE, || {
            let begun = Instant::now();
            ends(&mut start(1)?.0)?;
            Ok((begun.elapsed() < Duration::from_millis(100)).then_some(()))
        })?;
        signal(agent.pid(), Signal::SIGCONT)?;
        wait::until("the recorder to answer", PATIENCE, || Ok(agent.status().ok()))?;
        // Recorder and thawer are killed at once: the next recorder lets go, and nothing but what was stopped for it.
        let mut bystander = Command::new("sleep").arg("60").spawn()?;
        signal(bystander.id(), Signal::SIGSTOP)?;
        let thawer = thawer(&agent)?;
        signal(thawer, Signal::SIGSTOP)?;
        signal(agent.pid(), Signal::SIGSTOP)?;
        let mut ghost = start(2)?.0;
        wait::until("a program to be stopped", PATIENCE, || Ok((state(ghost.id())? == 'T').then_some(())))?;
        signal(thawer, Signal::SIGKILL)?;
        agent.kill()?;
        ensure!(state(ghost.id())? == 'T', "somebody else let it go");
        let again = Agent::start(&program, Path::new(LOG))?;
        ends(&mut ghost)?;
        ensure!(state(bystander.id())? == 'T', "what somebody else had stopped was let go");
        bystander.kill()?;
        bystander.wait()?;
        again.stop()
    });
}

#[test]
fn the_thawer_outlives_the_recorder_and_lets_go_at_its_end() {
    world::inside("the_thawer_outlives_the_recorder_and_lets_go_at_its_end", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let thawer = thawer(&agent)?;
        signal(thawer, Signal::SIGSTOP)?;
        signal(agent.pid(), Signal::SIGSTOP)?;
        let mut ghost = start(0)?.0;
        wait::until("a program to be stopped", PATIENCE, || Ok((state(ghost.id())? == 'T').then_some(())))?;
        agent.kill()?;
        signal(thawer, Signal::SIGCONT)?;
        ends(&mut ghost)
    });
}

/// Starts a program from memory, with its number as argument.
fn start(number: usize) -> Result<(Child, String)> {
    let content = elf::exits(CODE, &number.to_le_bytes());
    let mut file = File::from(memfd_create("ghost", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&content)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let child = Command::new(path).arg(number.to_string()).spawn().context("run a program from memory")?;
    Ok((child, Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn run(number: usize) -> Result<Ghost> {
    let (mut child, sha256) = start(number)?;
    ends(&mut child)?;
    Ok(Ghost { pid: child.id(), number, sha256 })
}

fn ends(child: &mut Child) -> Result<()> {
    let mut looked = 0;
    let status = wait::until("a program from memory to end", PATIENCE, || {
        looked += 1;
        // Most end at once: the first looks wait for nothing.
        while looked < 2000 {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            looked += 1;
            std::thread::yield_now();
        }
        Ok(child.try_wait()?)
    })?;
    ensure!(status.code() == Some(i32::from(CODE)), "it ended with {status}");
    Ok(())
}

/// The ghosts whose executable is in the stash: told by an event, and a file of that name with that content.
fn kept(agent: &Agent, ghosts: &[Ghost]) -> Result<HashMap<u32, String>> {
    let told = |events: &[Value]| -> HashMap<u32, String> {
        let kept = events.iter().filter(|event| event["event.action"] == "stash");
        let is_ghost = |pid: &u32| ghosts.iter().any(|ghost| ghost.pid == *pid);
        let pair = |event: &Value| {
            Some((event["process.pid"].as_u64()? as u32, event["process.hash.sha256"].as_str()?.to_owned()))
        };
        kept.filter_map(pair).filter(|(pid, _)| is_ghost(pid)).collect()
    };
    let mut last = usize::MAX;
    // The stasher may still be at work: until two looks are the same.
    let all = wait::until("the stasher to be done", PATIENCE, || {
        let all = told(&agent.history()?);
        let done = all.len() == last || all.len() == ghosts.len();
        last = all.len();
        Ok(done.then_some(all))
    })?;
    let is_kept = |ghost: &&Ghost| {
        all.get(&ghost.pid) == Some(&ghost.sha256) && content_matches(&ghost.sha256).unwrap_or(false)
    };
    Ok(ghosts.iter().filter(is_kept).map(|ghost| (ghost.pid, ghost.sha256.clone())).collect())
}

fn content_matches(sha256: &str) -> Result<bool> {
    let packed = format!("/var/lib/afterimage/stash/{sha256}.zst");
    let output = Command::new("zstd").args(["-dcq", &packed]).output()?;
    let digest: String = Sha256::digest(&output.stdout).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digest == sha256)
}

fn thawer(agent: &Agent) -> Result<u32> {
    let helpers = children(agent.pid())?;
    let thawer = helpers.iter().find(|seen| seen.args.iter().any(|argument| argument == "thawer"));
    Ok(thawer.context("no thawer among the helpers")?.pid)
}

fn state(pid: u32) -> Result<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).context("an odd stat")
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

fn configure(text: &str) -> Result<()> {
    fs::create_dir_all("/etc/afterimage")?;
    Ok(fs::write("/etc/afterimage/afterimage.toml", text)?)
}
