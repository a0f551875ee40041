//! Processes of the agent die; evidence does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::agent::{self, Agent};
use e2e::digest::sha256;
use e2e::judges::Bag;
use e2e::known::Known;
use e2e::living::Worker;
use e2e::proc::{children, is_gone};
use e2e::story::door::Door;
use e2e::{story, wait, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Enough memory that a capture of it takes a while.
const MEBIBYTES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);
/// More than what stands at the very beginning.
const MEMBERS: usize = 5;
const LOG: &str = "/tmp/afterimage.log";
const BUNDLES: &str = "/var/lib/afterimage/bundles";

#[test]
fn a_killed_collector_leaves_a_sealed_bundle_that_says_so() {
    world::inside("a_killed_collector_leaves_a_sealed_bundle_that_says_so", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new(LOG))?;
        let worker = Worker::with_memory(MEBIBYTES)?;
        let pid = worker.seen.pid.to_string();
        let (bundle, members) = thread::scope(|scope| {
            let capture = scope.spawn(|| agent.capture(&["--pid", &pid]));
            let members = await_members(|| capture.is_finished())?;
            let collector = children(agent.pid())?
                .into_iter()
                .find(|seen| seen.args.iter().any(|arg| arg == "collect"))
                .context("the collector was over before it could be disturbed")?;
            kill(Pid::from_raw(i32::try_from(collector.pid)?), Signal::SIGKILL)?;
            let bundle = capture.join().map_err(|_| anyhow!("the capture panicked"))??;
            anyhow::Ok((bundle, members))
        })?;
        holds(&program, &bundle, &members)?;
        goes_on(&agent)?;
        agent.stop()
    });
}

#[test]
fn a_killed_recorder_takes_its_captures_up_again() {
    world::inside("a_killed_recorder_takes_its_captures_up_again", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new(LOG))?;
        let worker = Worker::with_memory(MEBIBYTES)?;
        let mut client = std::process::Command::new(&program)
            .args(["capture", "--pid", &worker.seen.pid.to_string()])
            .spawn()?;
        let members = await_members(|| false)?;
        let helpers = children(agent.pid())?;
        agent.kill()?;
        client.wait()?;
        for helper in helpers {
            let what = format!("the end of the helper {:?}", helper.args);
            wait::until(&what, PATIENCE, || Ok(is_gone(helper.pid).then_some(())))?;
        }
        let again = Agent::start(&program, Path::new(LOG))?;
        let bundle =
            wait::until("the interrupted capture's bundle", PATIENCE, || Ok(with_ending(".tar.zst")))?;
        holds(&program, &bundle, &members)?;
        at_the_door(&program, &bundle)?;
        goes_on(&again)?;
        again.stop()
    });
}

#[test]
fn a_running_recorder_takes_a_capture_within_its_deadline() {
    world::inside("a_running_recorder_takes_a_capture_within_its_deadline", || {
        fs::create_dir_all("/etc/afterimage")?;
        fs::write("/etc/afterimage/afterimage.toml", "[capture]\ndeadline_s = 1\n")?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let worker = Worker::with_memory(MEBIBYTES)?;
        let begun = Instant::now();
        let bundle = agent.capture(&["--pid", &worker.seen.pid.to_string()])?;
        ensure!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
        agent::succeed(&story::program(), &["bundle", "verify", bundle.to_str().context("an odd path")?])?;
        agent.stop()
    });
}

/// The members that a capture's journal names, with their SHA-256, as soon as there are enough of them.
fn await_members(is_over: impl Fn() -> bool) -> Result<Vec<(String, String)>> {
    wait::until("members in a journal", PATIENCE, || {
        ensure!(!is_over(), "the capture was over before it could be disturbed");
        let text = with_ending(".journal").and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        // The last line may be in the making.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let members: Vec<_> = lines.filter_map(|line| member(&line["member"])).collect();
        Ok(Some(members).filter(|members| members.len() >= MEMBERS))
    })
}

fn member(artifact: &Value) -> Option<(String, String)> {
    Some((artifact["name"].as_str()?.to_owned(), artifact["sha256"].as_str()?.to_owned()))
}

/// Fails unless the bundle is good, says that it is not complete and why, and holds each of these members.
fn holds(program: &Path, bundle: &Path, members: &[(String, String)]) -> Result<()> {
    agent::succeed(program, &["bundle", "verify", bundle.to_str().context("an odd path")?])?;
    let bag = Bag::extract(bundle, Path::new("/var/tmp/bag"))?;
    let manifest: Value = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
    ensure!(manifest["complete"] == false, "it does not say that it is not complete");
    let why = manifest["incomplete"].as_str().unwrap_or_default();
    ensure!(!why.is_empty(), "it does not say why it is not complete");
    let listed: Vec<_> = manifest["artifacts"].as_array().into_iter().flatten().filter_map(member).collect();
    for (name, known) in members {
        let found = sha256(bag.file(name)).context("it was complete before the kill")?;
        ensure!(&found == known, "{name}: the journal said {known}, and the bundle holds {found}");
        ensure!(listed.contains(&(name.clone(), known.clone())), "{name} is not in capture.json");
    }
    println!("{} members outlived the kill; incomplete: {why}", members.len());
    Ok(())
}

/// Fails unless the door lists the bundle and gives out all of it.
fn at_the_door(program: &Path, bundle: &Path) -> Result<()> {
    let door = Door::open(program)?;
    let name = bundle.file_name().and_then(|name| name.to_str()).context("no name")?;
    let id = name.strip_suffix(".tar.zst").context("an odd name")?;
    let list = door.get("/v1/bundles")?.json()?;
    let listed = list["bundles"].as_array().into_iter().flatten().any(|one| one["id"] == id);
    ensure!(listed, "{id} is not in {list}");
    let downloaded = Path::new("/var/tmp/downloaded");
    door.download(id, downloaded)?;
    ensure!(sha256(downloaded)? == sha256(bundle)?, "what the door gives out is not the bundle");
    Ok(())
}

/// Fails unless what happens now is recorded.
fn goes_on(agent: &Agent) -> Result<()> {
    let account = Known::start(Path::new("/out/bin/init"), "127.0.0.1", 3)?.let_go()?;
    let mut last = None;
    wait::until("the events of a child that was started after the kill", PATIENCE, || {
        let compared = account.compare(&agent.history()?);
        let seen = compared.is_ok().then_some(());
        last = compared.err();
        Ok(seen)
    })
    .with_context(|| format!("{last:?}"))
}

/// A file in the folder of bundles, by the ending of its name.
fn with_ending(ending: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(BUNDLES).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.into_iter().find(|path| path.to_string_lossy().ends_with(ending))
}
