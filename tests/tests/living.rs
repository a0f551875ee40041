//! A target that lives while it is captured: its memory, its environment, its descriptors.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::digest::sha256;
use e2e::judges::{Bag, gdb};
use e2e::living::{Ghost, VARIABLE, Worker};
use e2e::proc::Seen;
use e2e::{story, world};

#[test]
fn a_living_target_is_in_the_bundle_as_it_is() {
    world::inside("a_living_target_is_in_the_bundle_as_it_is", || {
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let worker = Worker::start()?;
        let bundle = agent.capture(&["--pid", &worker.seen.pid.to_string(), "--reason", "a test"])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/worker"))?;
        let folder = folder(&bag, &worker.seen)?;
        memory(&worker, &folder).context("the core")?;
        environment(&folder).context("the environment")?;
        descriptors(&worker, &folder).context("the descriptors")?;
        Ok(())
    });
}

#[test]
fn a_program_that_exists_in_memory_only_is_in_the_bundle() {
    world::inside("a_program_that_exists_in_memory_only_is_in_the_bundle", || {
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let ghost = Ghost::start()?;
        let bundle = agent.capture(&["--pid", &ghost.seen.pid.to_string()])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/ghost"))?;
        let found = sha256(folder(&bag, &ghost.seen)?.join("exe"))?;
        ensure!(found == ghost.sha256, "the executable in the bundle is {found}, and it is {}", ghost.sha256);
        Ok(())
    });
}

fn folder(bag: &Bag, seen: &Seen) -> Result<PathBuf> {
    let folder = bag.file(&format!("data/process/{}-{}", seen.pid, seen.start));
    ensure!(folder.is_dir(), "{} is missing", folder.display());
    Ok(folder)
}

fn memory(worker: &Worker, folder: &Path) -> Result<()> {
    let report = &worker.report;
    let address = report["address"].as_str().context("no address")?;
    let pattern = report["pattern"].as_str().context("no pattern")?;
    let (times, threads) = (number(&report["times"])?, number(&report["threads"])?);
    // The last repetition, so that the whole region must be there.
    let last = (times - 1) * pattern.len();
    let show = format!("output *(char[{}]*)({address} + {last})", pattern.len());
    let said = gdb(
        &folder.join("exe"),
        &folder.join("core"),
        &["info threads", "thread apply all backtrace", &show],
    )?;
    ensure!(said.contains(pattern), "`{show}` does not show the pattern:\n{said}");
    let listed = said.lines().filter(|line| line.contains("LWP") && !line.starts_with('[')).count();
    ensure!(listed >= threads, "{listed} threads, and there were {threads}:\n{said}");
    ensure!(said.contains("wait_in_a_named_frame"), "no back-trace names the worker's frame:\n{said}");
    ensure!(said.contains("worker::main"), "no back-trace reaches main:\n{said}");
    Ok(())
}

fn environment(folder: &Path) -> Result<()> {
    let environ = fs::read(folder.join("environ"))?;
    let known = format!("{}={}\0", VARIABLE.0, VARIABLE.1);
    ensure!(environ == known.as_bytes(), "{:?}", String::from_utf8_lossy(&environ));
    Ok(())
}

fn descriptors(worker: &Worker, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(folder.join("fd.json"))?;
    let list: serde_json::Value = serde_json::from_str(&text)?;
    let list = list.as_array().context("fd.json is no list")?;
    let link = |number: &serde_json::Value| {
        let one = list.iter().find(|one| one["fd"] == *number);
        one.and_then(|one| one["target"].as_str())
            .with_context(|| format!("no descriptor {number} in {text}"))
    };
    let deleted = &worker.report["deleted"];
    let path = deleted["path"].as_str().context("no path")?;
    ensure!(link(&deleted["fd"])? == format!("{path} (deleted)"), "{text}");
    for socket in worker.report["sockets"].as_array().context("no sockets")? {
        ensure!(link(socket)?.starts_with("socket:["), "{text}");
    }
    Ok(())
}

fn number(value: &serde_json::Value) -> Result<usize> {
    Ok(usize::try_from(value.as_u64().context("not a number")?)?)
}
