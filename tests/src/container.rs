//! A process in a mount namespace of its own, with a file system of its own: as far as files go, a container.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::agent::Agent;
use crate::proc::children;
use crate::storm::{self, Found};
use crate::tiny::Tiny;
use crate::wait;

const PATIENCE: Duration = Duration::from_secs(30);
/// Inside only.
const FOLDER: &str = "/root";
/// Programs that are executed once the gate had the time to see the first.
const COUNT: u32 = 50;

/// The container's own program: `program` with the argument `container` must lead here.
pub fn inside() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("private mounts")?;
    mount(Some("tmpfs"), FOLDER, Some("tmpfs"), MsFlags::empty(), Some("size=8m")).context("a tmpfs")?;
    let mut lines = BufReader::new(std::io::stdin()).lines();
    // A lasting one, so that there is somebody to look at.
    let first = Tiny::lasting(Path::new(FOLDER), 0)?;
    let mut all = Vec::new();
    for number in 1..=COUNT {
        all.push(Tiny::write(Path::new(FOLDER), number)?);
    }
    ensure!(Command::new(&first.path).status()?.code() == Some(0));
    let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata(FOLDER)?);
    println!("{:x}", nix::sys::stat::minor(device));
    std::io::stdout().flush()?;
    lines.next().context("nobody says go")??;
    storm::run(&all)?;
    Ok(())
}

/// Fails unless the agent, which watches file systems, keeps what such a container executes and unlinks.
pub fn is_watched(agent: &Agent, program: &Path) -> Result<String> {
    let gate = agent.status()?["gate"].clone();
    ensure!(gate["in_force"] == true && gate["marks"]["file_systems"] == true, "{gate}");
    let mut child =
        Command::new(program).arg("container").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let outcome = let_go(&mut child, |device| {
        let what = format!("a mark on the container's file system {device}");
        wait::until(&what, PATIENCE, || Ok(is_marked(agent, device)?.then_some(())))
    });
    outcome.with_context(|| agent.status().unwrap_or_default()["gate"].to_string())?;

    // The same programs as inside, to know their hashes.
    let twins = Path::new("/run/twins");
    fs::create_dir_all(twins)?;
    let mut all = Vec::new();
    for number in 1..=COUNT {
        let twin = Tiny::write(twins, number)?;
        fs::remove_file(&twin.path)?;
        all.push(Tiny { path: Path::new(FOLDER).join(number.to_string()), ..twin });
    }
    let kept = wait::until("the executables of the container in the history", PATIENCE, || {
        let events = agent.history()?;
        let kept = Found::of(&events, &all)?.kept(&all);
        Ok((kept == all.len()).then_some(kept))
    });
    let kept = kept.with_context(|| said_of(agent, &all))?;
    Ok(format!("{kept} of {} executables of another mount namespace kept", all.len()))
}

/// What the history has of the first program that was not kept, and what it says of losses.
fn said_of(agent: &Agent, all: &[Tiny]) -> String {
    let events = agent.history().unwrap_or_default();
    let Ok(found) = Found::of(&events, all) else { return "the history is odd".to_owned() };
    let lost = all.iter().find(|tiny| found.sha256(tiny) != Some(&tiny.sha256));
    let path = lost.map_or_else(String::new, |tiny| tiny.path.display().to_string());
    let of_it = |event: &&serde_json::Value| {
        event["process.executable"] == path.as_str()
            || event["event.action"] == "loss"
            || event["event.action"] == "gap"
    };
    let said: Vec<String> = events.iter().filter(of_it).map(ToString::to_string).collect();
    format!("{path} is not there; {}", said.join("\n"))
}

/// Lets the container go on once `sign` was seen, for the device that it names, and waits for its end.
fn let_go(child: &mut Child, sign: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let mut device = String::new();
    BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut device)?;
    let seen = sign(device.trim());
    child.stdin.take().context("no stdin")?.write_all(b"go\n")?;
    ensure!(child.wait()?.success(), "the container failed");
    seen
}

/// Whether the kernel lists a mark on this file system (its minor number, hexadecimal) among the gate's.
fn is_marked(agent: &Agent, device: &str) -> Result<bool> {
    let helpers = children(agent.pid())?;
    let gate = helpers.iter().find(|seen| seen.args.get(1).is_some_and(|arg| arg == "gate"));
    let folder = format!("/proc/{}/fdinfo", gate.context("there is no gate")?.pid);
    let line = format!("fanotify sdev:{device} ");
    let texts = fs::read_dir(folder)?.flatten().map(|entry| fs::read_to_string(entry.path()));
    Ok(texts.flatten().any(|text| text.lines().any(|one| one.starts_with(&line))))
}
