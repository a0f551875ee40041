//! The agent's way.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Cost;
use super::target::Target;
use crate::agent::Agent;
use crate::world::OUT;
use crate::{net, proc, story};

/// How often the collector's memory is looked at. The kernel keeps its peak: only what comes after the last look is missed.
const LOOK: Duration = Duration::from_millis(2);

/// Not the world's files: to walk through all of /usr takes a second that has nothing to do with memory.
const NO_FILES: &str = "[paths]\nroot = \"/srv\"\n";

/// A recorder with this configuration.
pub fn start(config: &str) -> Result<Agent> {
    net::loopback_up()?;
    fs::create_dir_all("/etc/afterimage")?;
    fs::write("/etc/afterimage/afterimage.toml", [NO_FILES, config].concat())?;
    Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))
}

/// One capture by hand, as a person asks for it; the bundle goes where the chain's files go.
pub fn take(agent: &Agent, target: &mut Target) -> Result<Cost> {
    target.settle()?;
    target.longest_stop()?;
    let before = target.resident_mib()?;
    let pid = target.pid().to_string();
    let busy = cpu(agent.pid())?;
    let ended = AtomicBool::new(false);
    let (bundle, begun, seen) = thread::scope(|scope| {
        let looking = scope.spawn(|| look(agent.pid(), &ended));
        let begun = Instant::now();
        let bundle = agent.capture(&["--pid", &pid, "--output", OUT]);
        ended.store(true, Ordering::Relaxed);
        let seen = looking.join().ok().context("the look-out failed")?;
        anyhow::Ok((bundle?, begun, seen))
    })?;
    // Sealed is what has its name: signed and on the disk. The command goes on to tell the file's own hash.
    let whole = (seen.sealed.context("no bundle was seen")? - begun).as_secs_f64();
    let cpu = cpu(agent.pid())? - busy;
    let stopped = target.longest_stop()?;
    let growth = target.resident_mib()? - before;
    let size = fs::metadata(&bundle)?.len() as f64 / 1024.0 / 1024.0;
    fs::remove_file(bundle)?;
    Ok(Cost { whole, cpu, stopped, growth, memory: seen.memory.context("the collector was not seen")?, size })
}

/// Seconds of a process and of its children that were waited for: fields 14 to 17 of its stat, in ticks of 10 ms.
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("an odd stat")?;
    let ticks = rest.split(' ').skip(11).take(4).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// What is seen of a capture while it runs.
#[derive(Default)]
struct Sight {
    /// The most memory that any of its helpers had, in MiB.
    memory: Option<f64>,
    /// When the bundle had its name.
    sealed: Option<Instant>,
}

fn look(recorder: u32, ended: &AtomicBool) -> Sight {
    let mut sight = Sight::default();
    loop {
        let is_last = ended.load(Ordering::Relaxed);
        if sight.sealed.is_none() && has_bundle() {
            sight.sealed = Some(Instant::now());
        }
        if is_last {
            return sight;
        }
        let helpers = proc::children(recorder).unwrap_or_default();
        for one in
            helpers.iter().filter(|one| one.args.iter().any(|word| word == "collect" || word == "seal"))
        {
            let status = fs::read_to_string(format!("/proc/{}/status", one.pid)).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
            if let Some(mib) = kib.map(|kib| kib / 1024.0) {
                sight.memory = Some(sight.memory.map_or(mib, |peak| peak.max(mib)));
            }
        }
        thread::sleep(LOOK);
    }
}

fn has_bundle() -> bool {
    let names = fs::read_dir(OUT).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().ends_with(".tar.zst"))
}
