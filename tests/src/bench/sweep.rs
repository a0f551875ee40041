//! `cargo xtask bench sweep`: a look at a host with a thousand processes, from the request to the sealed bundle, beside a
//! bare read of the same files of /proc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::figure::Figure;
use crate::agent::Agent;
use crate::judges::Bag;
use crate::{net, story, wait};

const PROCESSES: usize = 1000;
const ROUNDS: usize = 9;
/// They end by themselves, whatever becomes of this.
const LIFE: &str = "150";
const GOAL_S: f64 = 0.5;

/// What a sweep copies of each process (`agent/src/collect/process.rs`), and which links it reads.
const TEXTS: [&str; 6] = ["status", "stat", "cmdline", "environ", "maps", "cgroup"];
const LINKS: [&str; 13] = [
    "exe",
    "cwd",
    "root",
    "ns/cgroup",
    "ns/ipc",
    "ns/mnt",
    "ns/net",
    "ns/pid",
    "ns/pid_for_children",
    "ns/time",
    "ns/time_for_children",
    "ns/user",
    "ns/uts",
];

/// Sleeping processes, ended when dropped.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start() -> Result<Self> {
        let mut all = Self(Vec::with_capacity(PROCESSES));
        for number in 0..PROCESSES {
            let mut command = Command::new("/usr/bin/sleep");
            command.arg(LIFE).env("SLEEPER", number.to_string()).stdin(Stdio::null());
            all.0.push(command.spawn().context("start sleep")?);
        }
        wait::until("all sleepers to run their program", Duration::from_secs(30), || {
            let asleep = |child: &Child| {
                let exe = fs::read_link(format!("/proc/{}/exe", child.id()));
                exe.is_ok_and(|exe| exe == Path::new("/usr/bin/sleep"))
            };
            Ok(all.0.iter().all(asleep).then_some(()))
        })?;
        Ok(all)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
        }
        for child in &mut self.0 {
            drop(child.wait());
        }
    }
}

/// Sweeps, and reads barely, in turns.
pub fn measure() -> Result<Vec<Figure>> {
    net::loopback_up()?;
    fs::create_dir_all("/etc/afterimage")?;
    fs::write("/etc/afterimage/afterimage.toml", "[captures]\nreserve_bytes = 1\n[door]\nenabled = false\n")?;
    let agent = Agent::start(&story::program(), "/tmp/agent.log".as_ref())?;
    let sleepers = Sleepers::start()?;
    let (mut sweeps, mut bare) = (Vec::new(), Vec::new());
    let mut first = None;
    for _ in 0..ROUNDS {
        bare.push(timed(read_all)?.0);
        let (time, bundle) = timed(|| agent.capture(&["--host", "--profile", "volatile"]))?;
        sweeps.push(time);
        first.get_or_insert(bundle);
    }
    let first = first.context("no bundle")?;
    let size = fs::metadata(&first)?.len();
    is_whole(&first, &sleepers)?;
    let (sweep, spread) = middle(&mut sweeps);
    let (bare, bare_spread) = middle(&mut bare);
    Ok(vec![
        Figure::new(
            format!("a sweep of {PROCESSES} processes, from the request to the sealed bundle, s"),
            sweep,
            format!("median {sweep:.3} ({spread})"),
        )
        .at_most(GOAL_S)
        .note(format!(
            "{:.1} times the bare read; {ROUNDS} rounds; a bundle of {} KiB",
            sweep / bare,
            size >> 10
        )),
        Figure::new(
            "a bare read of the same files of /proc, one thread, s",
            bare,
            format!("median {bare:.3} ({bare_spread})"),
        ),
    ])
}

/// The same files and links, into nothing.
fn read_all() -> Result<usize> {
    let mut bytes = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        if entry.file_name().to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        let folder = entry.path();
        for text in TEXTS {
            bytes += fs::read(folder.join(text)).map_or(0, |text| text.len());
        }
        for link in LINKS {
            bytes += fs::read_link(folder.join(link)).map_or(0, |link| link.as_os_str().len());
        }
        for fd in fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
            bytes += fs::read_link(fd.path()).map_or(0, |link| link.as_os_str().len());
            bytes += fs::read(folder.join("fdinfo").join(fd.file_name())).map_or(0, |text| text.len());
        }
    }
    ensure!(bytes > 0, "there was nothing to read");
    Ok(bytes)
}

/// Fails unless the bundle has all that is to be measured of every sleeper.
fn is_whole(bundle: &Path, sleepers: &Sleepers) -> Result<()> {
    let bag = Bag::extract(bundle, Path::new("/var/tmp/sweep"))?;
    let folder = bag.file("data/process");
    let names: Vec<PathBuf> = fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
    for child in &sleepers.0 {
        let prefix = format!("{}-", child.id());
        let of = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        let own =
            names.iter().find(of).with_context(|| format!("pid {} is not in the bundle", child.id()))?;
        for text in TEXTS.iter().copied().chain(["fd.json", "ns.json"]) {
            ensure!(fs::metadata(own.join(text))?.len() > 0, "{} is empty", own.join(text).display());
        }
    }
    for name in ["data/process/tree.json", "data/network/sockets.json", "data/hidden/processes.json"] {
        ensure!(fs::metadata(bag.file(name))?.len() > 0, "{name} is empty");
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let begun = Instant::now();
    let result = work()?;
    Ok((begun.elapsed().as_secs_f64(), result))
}

/// The median, and the range in words.
fn middle(times: &mut [f64]) -> (f64, String) {
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    (at(times.len() / 2), format!("{:.3} to {:.3}", at(0), at(times.len().saturating_sub(1))))
}
