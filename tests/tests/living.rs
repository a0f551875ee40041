//! A target that lives while it is captured: its memory, its environment, its descriptors.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::digest::sha256;
use e2e::judges::{Bag, gdb};
use e2e::living::{Ghost, VARIABLE, Worker};
use e2e::proc::Seen;
use e2e::world::{SERVICE_HOME, SERVICE_USER};
use e2e::{story, world};
use serde_json::Value;

/// What lies in the hidden directory of a user whom the target has nothing to do with.
const HIDDEN: &[u8] = b"{\"pool\": \"pool.example:3333\", \"odd\": \"\\xff\x00\xff\"}\n";

#[test]
fn a_living_target_is_in_the_bundle_as_it_is() {
    world::inside("a_living_target_is_in_the_bundle_as_it_is", || {
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let worker = Worker::start()?;
        hide()?;
        let bundle = agent.capture(&["--pid", &worker.seen.pid.to_string(), "--reason", "a test"])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/worker"))?;
        let folder = folder(&bag, &worker.seen)?;
        memory(&worker, &folder).context("the core")?;
        environment(&folder).context("the environment")?;
        descriptors(&worker, &folder).context("the descriptors")?;
        deleted(&worker, &bag).context("the deleted file")?;
        hidden(&bag).context("the hidden file")?;
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
    let ask = |command: &str| gdb(&folder.join("exe"), &folder.join("core"), &[command]);
    let said = ask(&show)?;
    ensure!(said.contains(pattern), "`{show}` does not show the pattern:\n{said}");
    let said = ask("info threads")?;
    let listed = said.lines().filter(|line| line.contains("LWP") && !line.starts_with('[')).count();
    ensure!(listed == threads, "{listed} threads, and there were {threads}:\n{said}");
    let said = ask("thread apply all backtrace")?;
    let frames =
        |name: &str| said.lines().filter(|line| line.starts_with('#') && line.contains(name)).count();
    let named = frames("wait_in_a_named_frame");
    ensure!(named == threads - 1, "{named} threads wait in the named frame, not {}:\n{said}", threads - 1);
    ensure!(frames("worker::main") > 0, "no back-trace reaches main:\n{said}");
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
    let list: Value = serde_json::from_str(&text)?;
    let list = list.as_array().context("fd.json is no list")?;
    let link = |number: &Value| {
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

fn deleted(worker: &Worker, bag: &Bag) -> Result<()> {
    let deleted = &worker.report["deleted"];
    let (pid, start) = (worker.seen.pid, worker.seen.start);
    let kept = fs::read(bag.file(&format!("data/hidden/deleted/{pid}-{start}/fd-{}", deleted["fd"])))?;
    let content = deleted["content"].as_str().context("no content")?;
    ensure!(kept == content.as_bytes(), "it holds {:?}", String::from_utf8_lossy(&kept));
    let path = deleted["path"].as_str().context("no path")?;
    finding(bag, &format!("{path} (deleted)"))
}

fn hide() -> Result<()> {
    let folder = format!("{SERVICE_HOME}/.cache/.sys");
    fs::create_dir_all(&folder)?;
    fs::write(format!("{folder}/config.json"), HIDDEN)?;
    for path in [format!("{SERVICE_HOME}/.cache"), folder.clone(), format!("{folder}/config.json")] {
        chown(path, Some(SERVICE_USER), Some(SERVICE_USER))?;
    }
    Ok(())
}

fn hidden(bag: &Bag) -> Result<()> {
    let kept = fs::read(bag.file(&format!("data/files{SERVICE_HOME}/.cache/.sys/config.json")))?;
    ensure!(kept == HIDDEN, "it holds {:?}", String::from_utf8_lossy(&kept));
    finding(bag, &format!("{SERVICE_HOME}/.cache/.sys"))
}

/// Fails unless the path is among the findings, as one that was there, with a reason.
fn finding(bag: &Bag, path: &str) -> Result<()> {
    let text = fs::read_to_string(bag.file("data/hidden/findings.json"))?;
    let findings: Value = serde_json::from_str(&text)?;
    let found = findings.as_array().context("no list")?.iter().find(|finding| finding["path"] == path);
    let found = found.with_context(|| format!("{path} is not among {text}"))?;
    let reasons = found["reasons"].as_array().map_or(0, Vec::len);
    ensure!(found["exists"] == true && reasons > 0, "{found}");
    Ok(())
}

fn number(value: &Value) -> Result<usize> {
    Ok(usize::try_from(value.as_u64().context("not a number")?)?)
}
