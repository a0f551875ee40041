//! Ways to blind the recorder: each becomes a gap with a date, within half a minute, and stands in the bundles of later.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::judges::Bag;
use e2e::known::Known;
use e2e::{events, net, sabotage, story, wait, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
/// How soon a gap must be told.
const SOON: Duration = Duration::from_secs(30);
/// Words of the map that probe and agent share (ebpf/src/lib.rs, `state`).
const LEVEL: u32 = 1;
const NAMESPACE: u32 = 2;

#[test]
fn programs_that_are_taken_off_are_noticed_and_put_back() {
    world::inside("programs_that_are_taken_off_are_noticed_and_put_back", || {
        let agent = begin()?;
        for (name, words) in [("exec", "programs executed"), ("tcp", "TCP connections asked for")] {
            blinded(&agent, &format!("{name} taken off"), words, |agent| {
                sabotage::detach(agent.pid(), &agent.status()?, name)
            })?;
            sees_again(&agent)?;
        }
        in_a_bundle(&agent, "programs executed")?;
        agent.stop()
    });
}

#[test]
fn maps_that_are_changed_are_noticed_and_set_right() {
    world::inside("maps_that_are_changed_are_noticed_and_set_right", || {
        let agent = begin()?;
        let state = sabotage::map(&agent.status()?, "STATE")?;
        for (what, key, value) in [("level changed", LEVEL, 7), ("namespace changed", NAMESPACE, 4711)] {
            blinded(&agent, what, "changed the probe's map", |_| sabotage::overwrite(&state, key, value))?;
            sees_again(&agent)?;
        }
        let ring = sabotage::Ring::open(&sabotage::map(&agent.status()?, "RING")?)?;
        // The recorder keeps its own place in the ring: to move the one that others can write takes nothing from it.
        ring.move_reader(|writer| writer);
        sees_again(&agent)?;
        let ring = sabotage::Ring::open(&sabotage::map(&agent.status()?, "RING")?)?;
        blinded(&agent, "ring stalled", "a canary did it", |_| {
            // Again and again, as a record that is read in between sets it right.
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                ring.move_reader(|writer| writer.wrapping_sub(1 << 30) & !7);
            }
            Ok(())
        })?;
        sees_again(&agent)?;
        agent.stop()
    });
}

#[test]
fn a_recorder_that_stands_still_or_dies_or_may_not_look_says_since_when() {
    world::inside("a_recorder_that_stands_still_or_dies_or_may_not_look_says_since_when", || {
        let program = story::program();
        let agent = begin()?;
        blinded(&agent, "stopped", "stood still", |agent| {
            signal(agent.pid(), Signal::SIGSTOP)?;
            let begun = Instant::now();
            wait::until("three seconds", SOON, || Ok((begun.elapsed().as_secs() >= 3).then_some(())))?;
            signal(agent.pid(), Signal::SIGCONT)
        })?;
        agent.kill()?;
        let agent = Agent::start(&program, Path::new(LOG))?;
        told(&agent.history()?, "killed", "no recorder ran between")?;
        // Watchers that do not read let what waits for them grow, until the limit refuses an allocation: that ends it.
        let watchers = (0..8).map(|_| Command::new(&program).arg("watch").stdout(Stdio::piped()).spawn());
        let watchers: Vec<Child> = watchers.collect::<std::io::Result<_>>()?;
        Command::new("prlimit").args(["--pid", &agent.pid().to_string(), "--as=1000000"]).status()?;
        let busy = Command::new("sh").args(["-c", "while :; do /bin/true; done"]).spawn()?;
        wait::until("the recorder to run out of memory", SOON, || {
            Ok(agent.ask(&["status"])?.status.success().eq(&false).then_some(()))
        })?;
        for mut child in watchers.into_iter().chain([busy]) {
            child.kill()?;
            child.wait()?;
        }
        drop(agent);
        let before = jiff::Timestamp::now();
        let agent = Agent::start(&program, Path::new(LOG))?;
        let since = told(&agent.history()?, "out of memory", "no recorder ran between")?;
        ensure!(since < before, "the gap of an earlier death is taken for this one");
        agent.stop()?;
        // Without the right to load programs it is blind from the beginning, and says so.
        let mut blind = without_rights(&program)?;
        let gap = wait::until("the gap of a blind recorder", SOON, || {
            Ok(agent::history(&program).ok().and_then(|events| gap(&events, "no probe")))
        })?;
        println!("attach refused: {}", gap["message"]);
        signal(blind.id(), Signal::SIGTERM)?;
        blind.wait()?;
        Ok(())
    });
}

#[test]
fn without_descriptors_or_disk_it_says_what_it_could_not_keep() {
    world::inside("without_descriptors_or_disk_it_says_what_it_could_not_keep", || {
        let agent = begin()?;
        let limit = |agent: &Agent, number: &str| -> Result<()> {
            let number = format!("--nofile={number}:");
            let done = Command::new("prlimit").args(["--pid", &agent.pid().to_string(), &number]).status()?;
            ensure!(done.success(), "prlimit failed");
            Ok(())
        };
        // Without descriptors nobody can ask it either: what it writes is read from the disk.
        limit(&agent, "3")?;
        let since = jiff::Timestamp::now();
        let gap = wait::until("the gap: no descriptors left", SOON, || {
            let events = events::read(Path::new("/var/lib/afterimage/history"))?;
            Ok(gap(&events, "canary cannot be started"))
        })?;
        println!("no descriptors left: told {} later: {}", jiff::Timestamp::now() - since, gap["message"]);
        limit(&agent, "1024")?;
        sees_again(&agent)?;
        blinded(&agent, "disk full", "the history could not be written", |_| {
            let fill = Command::new("sh")
                .args(["-c", "dd if=/dev/zero of=/var/fill bs=64k 2>/dev/null; dd if=/dev/zero of=/var/rest bs=1 count=65536 2>/dev/null"])
                .status()?;
            ensure!(!fill.success(), "there was room for all of it");
            // As many events as make a frame that does not fit.
            for _ in 0..400 {
                Command::new("/bin/true").arg("x".repeat(3000)).status()?;
            }
            wait::until("a loss at the disk", SOON, || {
                let lost = agent.status()?["counts"]["recorder"]["history_lost"].as_u64().unwrap_or(0);
                Ok((lost > 0).then_some(()))
            })?;
            fs::remove_file("/var/fill")?;
            Ok(fs::remove_file("/var/rest")?)
        })?;
        sees_again(&agent)?;
        // Told again and again, until the disk takes it.
        let mut last = None;
        wait::until("every event that was lost to be told", SOON, || {
            let lost = agent.status()?["counts"]["recorder"]["history_lost"].as_u64().context("no count")?;
            let events = agent.history()?;
            let losses = events.iter().filter(|event| event["afterimage.loss.place"] == "history");
            let told: u64 = losses.filter_map(|event| event["afterimage.loss.count"].as_u64()).sum();
            last = Some((lost, told));
            Ok((lost == told).then_some(()))
        })
        .with_context(|| format!("lost and told: {last:?}"))?;
        agent.stop()
    });
}

fn begin() -> Result<Agent> {
    net::loopback_up()?;
    Agent::start(&story::program(), Path::new(LOG))
}

/// Does it, and waits for the gap: it must begin before the deed was over, and be told soon after.
fn blinded(agent: &Agent, what: &str, words: &str, deed: impl FnOnce(&Agent) -> Result<()>) -> Result<()> {
    let before: usize = gaps(&agent.history()?, words).count();
    let begun = Instant::now();
    deed(agent).with_context(|| what.to_owned())?;
    let (over, after) = (jiff::Timestamp::now(), Instant::now());
    let found = wait::until(&format!("the gap: {what}"), SOON, || {
        let Ok(status) = agent.status() else { return Ok(None) };
        let open = status["gaps"].as_array().into_iter().flatten().cloned().collect::<Vec<Value>>();
        Ok(gaps(&open, words).nth(before).cloned())
    })
    .with_context(|| agent.log())?;
    let since: jiff::Timestamp = found["afterimage.gap.since"].as_str().context("no date")?.parse()?;
    ensure!(since <= over, "{what}: the gap begins at {since}, and the deed was over at {over}");
    println!(
        "{what}: told {:?} later ({:?} after its beginning): {}",
        after.elapsed(),
        begun.elapsed(),
        found["message"]
    );
    Ok(())
}

/// A child of which everything must be seen.
fn sees_again(agent: &Agent) -> Result<()> {
    let mut last = None;
    wait::until("the recorder to see again", SOON, || {
        let account = Known::start(Path::new("/out/bin/init"), "127.0.0.1", 3)?.let_go()?;
        let compared = agent.history().and_then(|events| account.compare(&events));
        let seen = compared.is_ok().then_some(());
        last = compared.err();
        Ok(seen)
    })
    .with_context(|| format!("{last:?}\n{}", agent.log()))
}

fn in_a_bundle(agent: &Agent, words: &str) -> Result<()> {
    let bundle = agent.capture(&["--profile", "volatile", "--host"])?;
    let bag = Bag::extract(&bundle, Path::new("/var/tmp/bag"))?;
    let manifest: Value = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
    let listed = manifest["facts"]["gaps"].as_array().context("no gaps in capture.json")?;
    ensure!(gap(listed, words).is_some(), "the gap is not in capture.json: {listed:?}");
    Ok(())
}

fn gaps<'a>(events: &'a [Value], words: &str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| {
        event["event.action"] == "gap"
            && event["message"].as_str().is_some_and(|message| message.contains(words))
    })
}

fn gap(events: &[Value], words: &str) -> Option<Value> {
    gaps(events, words).last().cloned()
}

fn told(events: &[Value], what: &str, words: &str) -> Result<jiff::Timestamp> {
    let gap = gap(events, words).with_context(|| format!("{what}: no gap in the history"))?;
    println!("{what}: {} since {}", gap["message"], gap["afterimage.gap.since"]);
    Ok(gap["afterimage.gap.since"].as_str().context("no date")?.parse()?)
}

/// The recorder without the capabilities to load programs.
fn without_rights(program: &Path) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(LOG)?;
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set", "-bpf,-perfmon,-sys_admin", "--inh-caps", "-bpf,-perfmon,-sys_admin"])
        .arg(program)
        .arg("run")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    Ok(command.spawn()?)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}
