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
    let (bundle, whole, memory) = thread::scope(|scope| {
        let looking = scope.spawn(|| peak(agent.pid(), &ended));
        let begun = Instant::now();
        let bundle = agent.capture(&["--pid", &pid, "--output", OUT]);
        let whole = begun.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        let memory = looking.join().ok().context("the look-out failed")?;
        anyhow::Ok((bundle?, whole, memory))
    })?;
    let cpu = cpu(agent.pid())? - busy;
    let stopped = target.longest_stop()?;
    let growth = target.resident_mib()? - before;
    let size = fs::metadata(&bundle)?.len() as f64 / 1024.0 / 1024.0;
    fs::remove_file(bundle)?;
    Ok(Cost { whole, cpu, stopped, growth, memory: memory.context("the collector was not seen")?, size })
}

/// Seconds of a process and of its children that were waited for: fields 14 to 17 of its stat, in ticks of 10 ms.
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("an odd stat")?;
    let ticks = rest.split(' ').skip(11).take(4).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// The most memory that any helper of this capture had, in MiB.
fn peak(recorder: u32, ended: &AtomicBool) -> Option<f64> {
    let mut peak: Option<f64> = None;
    while !ended.load(Ordering::Relaxed) {
        let helpers = proc::children(recorder).unwrap_or_default();
        let those =
            helpers.iter().filter(|one| one.args.iter().any(|word| word == "collect" || word == "seal"));
        for one in those {
            let status = fs::read_to_string(format!("/proc/{}/status", one.pid)).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
            if let Some(mib) = kib.map(|kib| kib / 1024.0) {
                peak = Some(peak.map_or(mib, |peak| peak.max(mib)));
            }
        }
        thread::sleep(LOOK);
    }
    peak
}
