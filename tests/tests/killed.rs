//! Processes of the agent die; evidence does not.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use e2e::agent::{self, Agent};
use e2e::judges::Bag;
use e2e::living::Worker;
use e2e::proc::{children, is_gone};
use e2e::{story, wait, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Enough memory that a capture of it takes a while.
const MEBIBYTES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);
const BUNDLES: &str = "/var/lib/afterimage/bundles";

#[test]
fn a_killed_collector_leaves_a_sealed_bundle_that_says_so() {
    world::inside("a_killed_collector_leaves_a_sealed_bundle_that_says_so", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new("/tmp/afterimage.log"))?;
        let worker = Worker::with_memory(MEBIBYTES)?;
        let pid = worker.seen.pid.to_string();
        let bundle = thread::scope(|scope| {
            let capture = scope.spawn(|| agent.capture(&["--pid", &pid]));
            let collector = wait::until("a collector that has written something", PATIENCE, || {
                ensure!(!capture.is_finished(), "the capture was over before it could be disturbed");
                let collector = children(agent.pid())?
                    .into_iter()
                    .find(|seen| seen.args.iter().any(|arg| arg == "collect"));
                Ok(collector.filter(|_| has_written()))
            })?;
            kill(Pid::from_raw(i32::try_from(collector.pid)?), Signal::SIGKILL)?;
            capture.join().map_err(|_| anyhow!("the capture panicked"))?
        })?;
        agent::succeed(&program, &["bundle", "verify", bundle.to_str().context("an odd path")?])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/bag"))?;
        let manifest: Value = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
        ensure!(manifest["complete"] == false, "it does not say that it is not complete");
        ensure!(manifest["incomplete"].as_str().is_some_and(|why| !why.is_empty()), "nor why");
        ensure!(bag.file("data/trigger.json").exists(), "what was complete is not there");
        agent.status().context("the recorder does not go on")?;
        agent.stop()
    });
}

#[test]
fn a_killed_recorder_takes_its_captures_up_again() {
    world::inside("a_killed_recorder_takes_its_captures_up_again", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new("/tmp/afterimage.log"))?;
        let worker = Worker::with_memory(MEBIBYTES)?;
        let mut client = std::process::Command::new(&program)
            .args(["capture", "--pid", &worker.seen.pid.to_string()])
            .spawn()?;
        wait::until("a collector that has written something", PATIENCE, || Ok(has_written().then_some(())))?;
        let helpers = children(agent.pid())?;
        agent.kill()?;
        client.wait()?;
        for helper in helpers {
            let what = format!("the end of the helper {:?}", helper.args);
            wait::until(&what, PATIENCE, || Ok(is_gone(helper.pid).then_some(())))?;
        }
        let again = Agent::start(&program, Path::new("/tmp/afterimage.log"))?;
        let bundle = wait::until("the interrupted capture's bundle", PATIENCE, || {
            let files = fs::read_dir(BUNDLES)?.flatten().map(|entry| entry.path());
            Ok(files.into_iter().find(|path| path.to_string_lossy().ends_with(".tar.zst")))
        })?;
        agent::succeed(&program, &["bundle", "verify", bundle.to_str().context("an odd path")?])?;
        again.stop()
    });
}

#[test]
fn a_running_recorder_takes_a_capture_within_its_deadline() {
    world::inside("a_running_recorder_takes_a_capture_within_its_deadline", || {
        fs::create_dir_all("/etc/afterimage")?;
        fs::write("/etc/afterimage/afterimage.toml", "[capture]\ndeadline_s = 1\n")?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let worker = Worker::with_memory(MEBIBYTES)?;
        let begun = Instant::now();
        let bundle = agent.capture(&["--pid", &worker.seen.pid.to_string()])?;
        ensure!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
        agent::succeed(&story::program(), &["bundle", "verify", bundle.to_str().context("an odd path")?])?;
        agent.stop()
    });
}

fn has_written() -> bool {
    let entries = fs::read_dir(BUNDLES).into_iter().flatten().flatten();
    let partial =
        |entry: &fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "partial");
    entries.filter(partial).any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
}
