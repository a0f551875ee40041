//! Collectors that die, or stand still, while they hold a process: it must run again in time.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent::Agent;
use crate::proc::children;
use crate::wait;

/// The longest that anything may be held (collect/freeze/mod.rs).
pub const PAUSE: Duration = Duration::from_secs(2);
/// The time to stop threads, a second after which the guard ends a collector that does not let go, and what a busy
/// machine may take.
const MARGIN: Duration = Duration::from_millis(2500);
const PATIENCE: Duration = Duration::from_secs(30);
/// What the collectors say.
const LOG: &str = "/tmp/collectors.log";

/// A way of holding, and how it is seen that something is held.
#[derive(Clone, Debug)]
pub enum Method {
    /// A tracer.
    Ptrace,
    /// A stop signal.
    Stop,
    /// A cgroup, frozen: of which version, and where.
    Cgroup(u8, PathBuf),
}

impl Method {
    /// As the configuration has it.
    fn policy(&self) -> &'static str {
        match self {
            Self::Ptrace => "ptrace",
            Self::Stop => "stop",
            Self::Cgroup(..) => "cgroup",
        }
    }

    /// Whether the process is held.
    pub fn holds(&self, pid: u32) -> Result<bool> {
        match self {
            Self::Ptrace => Ok(status(pid, "TracerPid")? != "0" && status(pid, "State")?.starts_with('t')),
            // Our own look at its registers is a stop as well, within the signal's.
            Self::Stop => Ok(status(pid, "State")?.starts_with(['T', 't'])),
            Self::Cgroup(2, folder) => {
                Ok(fs::read_to_string(folder.join("cgroup.events"))?.lines().any(|line| line == "frozen 1"))
            }
            Self::Cgroup(_, folder) => {
                Ok(fs::read_to_string(folder.join("freezer.state"))?.trim() == "FROZEN")
            }
        }
    }
}

/// A line of a process's `status`.
pub fn status(pid: u32, name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.to_owned())
}

/// A target whose going on can be seen.
pub struct Ticker(Child);

impl Ticker {
    /// Starts it; it is ready.
    pub fn start(program: &Path, mebibytes: usize) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(mebibytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "it said {line:?}");
        Ok(Self(child))
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Fails unless it runs: it sleeps a thousand times a second.
    pub fn goes_on(&self) -> Result<()> {
        let sleeps = || Ok::<u64, anyhow::Error>(status(self.pid(), "voluntary_ctxt_switches")?.parse()?);
        let before = sleeps()?;
        wait::until("the target to go on", PATIENCE, || Ok((sleeps()? > before + 2).then_some(())))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A job for collectors that the test starts itself.
pub struct Template {
    program: PathBuf,
    job: Value,
    count: u32,
    folder: PathBuf,
}

impl Template {
    /// That of a capture of `pid`, as the agent writes it.
    pub fn of(agent: &Agent, program: &Path, pid: u32, folder: &Path) -> Result<Self> {
        let bundles = Path::new("/var/lib/afterimage/bundles");
        let job = thread::scope(|scope| {
            let capture = scope.spawn(|| agent.capture(&["--pid", &pid.to_string()]));
            let job = wait::until("the job of a capture", PATIENCE, || {
                let paths = fs::read_dir(bundles)?.flatten().map(|entry| entry.path());
                let job = paths.into_iter().find(|path| path.extension().is_some_and(|end| end == "job"));
                Ok(job
                    .and_then(|path| fs::read(path).ok())
                    .and_then(|text| serde_json::from_slice(&text).ok()))
            });
            capture.join().map_err(|_| anyhow::anyhow!("the capture panicked"))??;
            job
        })?;
        fs::create_dir_all(folder)?;
        Ok(Self { program: program.to_owned(), job, count: 0, folder: folder.to_owned() })
    }

    /// Starts a collector that holds by `method`.
    pub fn start(&mut self, method: &Method) -> Result<Child> {
        self.count += 1;
        let id = format!("00000000-0000-7000-8000-{:012}", self.count);
        self.job["id"] = Value::from(id.clone());
        self.job["limits"]["freeze"] = Value::from(method.policy());
        self.job["places"]["history"] = Value::Null;
        self.job["places"]["stash"] = Value::Null;
        fs::write(self.folder.join(format!("{id}.job")), self.job.to_string())?;
        let directory = File::open(&self.folder)?;
        let mut command = Command::new(&self.program);
        let log = File::options().create(true).append(true).open(LOG)?;
        command.args(["collect", &id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // SAFETY: dup2 may be called between fork and exec; the directory is open until the child has been started.
        unsafe {
            let number = directory.as_raw_fd();
            command.pre_exec(move || match libc::dup2(number, 3) {
                3 if number != 3 => Ok(()),
                3 if libc::fcntl(3, libc::F_SETFD, 0) == 0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        command.spawn().context("start a collector")
    }

    /// Removes what the collectors wrote.
    pub fn sweep(&self) -> Result<()> {
        for entry in fs::read_dir(&self.folder)?.flatten() {
            fs::remove_file(entry.path())?;
        }
        Ok(())
    }
}

/// A collector that holds the target, and stands still itself, so that the target is held as long as its guard lets it.
fn holding(template: &mut Template, method: &Method, pid: u32) -> Result<Option<Child>> {
    let mut collector = template.start(method)?;
    let begun = Instant::now();
    while !method.holds(pid)? {
        ensure!(begun.elapsed() < PATIENCE, "the target was never held by {method:?}");
        if collector.try_wait()?.is_some() {
            return Ok(None);
        }
        thread::sleep(Duration::from_micros(100));
    }
    signal(collector.id(), Signal::SIGSTOP)?;
    wait::until("the collector to stand", PATIENCE, || {
        Ok(status(collector.id(), "State")?.starts_with('T').then_some(()))
    })?;
    if method.holds(pid)? {
        return Ok(Some(collector));
    }
    // It was a moment too late.
    collector.kill()?;
    collector.wait()?;
    Ok(None)
}

/// Kills a collector `times` while it holds the target; the longest time until it ran again.
pub fn killed(template: &mut Template, method: &Method, ticker: &Ticker, times: usize) -> Result<Duration> {
    let (mut longest, mut kills, mut missed) = (Duration::ZERO, 0, 0);
    while kills < times {
        let started = Instant::now();
        let Some(mut collector) = holding(template, method, ticker.pid())? else {
            missed += 1;
            println!("a collector had let go before it could be killed");
            ensure!(
                missed <= 3 * times,
                "{missed} collectors let go before they could be killed, {kills} did not"
            );
            continue;
        };
        let begun = Instant::now();
        collector.kill()?;
        collector.wait()?;
        longest = longest.max(await_release(method, ticker.pid(), begun)?);
        ticker.goes_on()?;
        kills += 1;
        println!("{kills} collectors were killed, this one after {:?}", started.elapsed());
        template.sweep()?;
    }
    Ok(longest)
}

/// A collector stands still while it holds the target, which must run again all the same; after how long it did.
pub fn stopped(template: &mut Template, method: &Method, ticker: &Ticker) -> Result<Duration> {
    for _ in 0..10 {
        let Some(mut collector) = holding(template, method, ticker.pid())? else { continue };
        // From when it was held, and not from when the collector was started, which reads other things first.
        let begun = Instant::now();
        let time = await_release(method, ticker.pid(), begun);
        // By whatever it was held: for its registers it is traced too, and lets go only when the collector is ended.
        let runs = time.and_then(|_| await_release(&Method::Ptrace, ticker.pid(), begun));
        collector.kill()?;
        collector.wait()?;
        let time = runs?;
        ticker.goes_on()?;
        template.sweep()?;
        return Ok(time);
    }
    bail!("no collector was seen to hold the target by {method:?}")
}

/// The guard dies while its collector holds the target: the collector lets it go, and ends well.
pub fn unguarded(template: &mut Template, method: &Method, ticker: &Ticker) -> Result<()> {
    for _ in 0..10 {
        let Some(mut collector) = holding(template, method, ticker.pid())? else { continue };
        let guards = children(collector.id())?;
        let guard = guards.iter().find(|seen| seen.args.iter().any(|argument| argument == "guard"));
        signal(guard.context("the collector has no guard")?.pid, Signal::SIGKILL)?;
        signal(collector.id(), Signal::SIGCONT)?;
        await_release(method, ticker.pid(), Instant::now())?;
        let status = wait::until("the collector's end", PATIENCE, || Ok(collector.try_wait()?))?;
        ensure!(status.success(), "the collector ended badly: {status}");
        ticker.goes_on()?;
        template.sweep()?;
        return Ok(());
    }
    bail!("no collector was seen to hold the target by {method:?}")
}

fn await_release(method: &Method, pid: u32, since: Instant) -> Result<Duration> {
    while method.holds(pid)? {
        ensure!(since.elapsed() < PAUSE + MARGIN, "it is held by {method:?} after {:?}", since.elapsed());
        thread::sleep(Duration::from_micros(100));
    }
    Ok(since.elapsed())
}

/// Sends a signal to a process of the world.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

/// A cgroup below `hierarchy`, with these processes.
pub fn cgroup(hierarchy: &Path, name: &str, pids: &[u32]) -> Result<PathBuf> {
    let folder = hierarchy.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for pid in pids {
        fs::write(folder.join("cgroup.procs"), pid.to_string())?;
    }
    Ok(folder)
}
