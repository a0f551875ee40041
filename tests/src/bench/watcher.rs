//! Who watches while a load runs: nobody, the agent, or one of its peers.
//!
//! Peers trace the whole kernel and would show other programs' command lines: what they print is thrown away, or its lines
//! are counted.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::Agent;
use crate::{exec_storm, story, wait};

const PATIENCE: Duration = Duration::from_secs(30);
const LOG: &str = "/tmp/afterimage.log";
/// What a peer says of its troubles.
const SAID: &str = "/tmp/peer.log";
const STATE: &str = "/var/lib/afterimage";

/// Who.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watcher {
    /// The agent, with its default configuration and an empty history.
    Agent,
    /// libbpf-tools' execsnoop.
    Execsnoop,
    /// bpftrace's first example: the arguments of each execve.
    Bpftrace,
    /// perf record of exec, fork and exit.
    Perf,
}

/// One that watches now.
pub enum Watching {
    /// The agent.
    Agent(Agent),
    /// A peer.
    Peer(Child),
}

impl Watcher {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "afterimage",
            Self::Execsnoop => "execsnoop",
            Self::Bpftrace => "bpftrace",
            Self::Perf => "perf record",
        }
    }

    fn command(self) -> Vec<&'static str> {
        match self {
            Self::Agent => vec![],
            Self::Execsnoop => vec!["/usr/sbin/execsnoop"],
            Self::Bpftrace => {
                vec!["/usr/bin/bpftrace", "-e", "tracepoint:syscalls:sys_enter_execve { join(args->argv); }"]
            }
            Self::Perf => vec![
                "/usr/bin/perf",
                "record",
                "-a",
                "-e",
                "sched:sched_process_exec,sched:sched_process_fork,sched:sched_process_exit",
                "-o",
                "/dev/null",
            ],
        }
    }

    /// Starts it and waits until it is attached.
    pub fn start(self) -> Result<Watching> {
        if self == Self::Agent {
            // Each begins with an empty history.
            if Path::new(STATE).exists() {
                fs::remove_dir_all(STATE).context("empty the agent's state")?;
            }
            return Ok(Watching::Agent(Agent::start(&story::program(), Path::new(LOG))?));
        }
        let child = self.spawn(Stdio::null())?;
        Ok(Watching::Peer(self.attached(child)?))
    }

    fn spawn(self, out: Stdio) -> Result<Child> {
        let command = self.command();
        let (program, arguments) = command.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(File::create(SAID)?);
        command.spawn().with_context(|| format!("{program}: `cargo xtask setup` installs it"))
    }

    /// Waits until it holds what attaches it to the kernel.
    fn attached(self, mut child: Child) -> Result<Child> {
        let folder = format!("/proc/{}/fd", child.id());
        let waited = wait::until(&format!("{} to attach", self.name()), PATIENCE, || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended: {status}: {}", said());
            }
            let links = fs::read_dir(&folder)?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
            let attaches = links.filter(|link| {
                let link = link.to_string_lossy();
                link.contains("[perf_event]") || link.contains("bpf_link") || link.contains("bpf-link")
            });
            Ok((attaches.count() > 0).then_some(()))
        });
        if let Err(error) = waited {
            drop(child.kill());
            child.wait()?;
            return Err(error);
        }
        Ok(child)
    }

    /// Fails unless it shows the processes of a small storm: a peer that does not work would look cheap.
    pub fn works(self, program: &Path) -> Result<()> {
        if self == Self::Agent {
            // It proves it at every start.
            return self.start()?.stop();
        }
        let mut child = self.attached(self.spawn(Stdio::piped())?)?;
        let out = child.stdout.take().context("no stdout")?;
        let counter = std::thread::spawn(move || BufReader::new(out).split(b'\n').count());
        let storm = exec_storm::run(&["--times", "500"], program)?;
        Watching::Peer(child).stop()?;
        let lines = counter.join().unwrap_or_default();
        if self == Self::Perf {
            // It writes records, and says at its end how much.
            ensure!(said().contains("Captured and wrote"), "it wrote nothing: {}", said());
            return Ok(());
        }
        ensure!(lines as u64 >= storm.lives / 2, "it showed {lines} lines for {} processes", storm.lives);
        Ok(())
    }
}

impl Watching {
    /// Ends it as its user would.
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Agent(agent) => agent.stop(),
            Self::Peer(mut child) => {
                kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
                let ended = wait::until("a peer to stop", PATIENCE, || Ok(child.try_wait()?));
                if ended.is_err() {
                    child.kill()?;
                    child.wait()?;
                }
                ended.map(drop)
            }
        }
    }
}

fn said() -> String {
    fs::read_to_string(SAID).unwrap_or_default().trim().replace('\n', "; ")
}

/// What peers look up and a world does not have: the numbers of events and of cpus.
pub fn furnish() -> Result<()> {
    let nothing = None::<&str>;
    let new = |kind: &str, to: &str, flags| {
        fs::create_dir_all(to)?;
        mount(Some(kind), to, Some(kind), flags, nothing).with_context(|| format!("mount {kind} at {to}"))
    };
    let bind = |from: &str, to: &str| {
        fs::create_dir_all(to)?;
        mount(Some(from), to, nothing, MsFlags::MS_BIND, nothing).with_context(|| format!("bind {to}"))
    };
    // The machine's devices stay out of reach: two lists of cpus are all that is taken from them.
    new("sysfs", "/tmp/sysfs", MsFlags::MS_RDONLY)?;
    let cpus = ["possible", "online"].map(|list| Path::new("system/cpu").join(list));
    let lists: Vec<_> = cpus
        .iter()
        .map(|list| fs::read(Path::new("/tmp/sysfs/devices").join(list)))
        .collect::<Result<_, _>>()?;
    umount("/tmp/sysfs")?;
    bind("/sys/kernel/btf", "/tmp/btf")?;
    new("tmpfs", "/sys", MsFlags::empty())?;
    bind("/tmp/btf", "/sys/kernel/btf")?;
    fs::create_dir_all("/sys/devices/system/cpu")?;
    for (list, text) in cpus.iter().zip(lists) {
        fs::write(Path::new("/sys/devices").join(list), text)?;
    }
    new("tracefs", "/sys/kernel/tracing", MsFlags::MS_RDONLY)?;
    bind("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
}
