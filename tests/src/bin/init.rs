//! /init of the virtual machine: runs known children under the agent and compares its reports with /proc.
//!
//! Its words on the console are the verdict: `init: everything passed`, and then it switches the machine off.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::events::nothing_was_lost;
use e2e::known::{self, Known};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

const AGENT: &str = "/afterimage";
const LOG: &str = "/tmp/afterimage.log";
const MOUNTS: [(&str, &str, &str); 7] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("tmpfs", "/run", "size=16m"),
    ("tmpfs", "/tmp", "size=64m"),
    ("tmpfs", "/var", "size=384m"),
];
/// The tmpfs of the machine is small: leave less of it free than on a disk.
const CONFIG: &str = "[captures]\nreserve_bytes = 33554432\n";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some("child") {
        return match known::child(arguments) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                eprintln!("child: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match run() {
        Ok(()) => println!("init: everything passed"),
        Err(error) => println!(
            "init: FAILED: {error:?}\nthe agent's log:\n{}",
            fs::read_to_string(LOG).unwrap_or_default()
        ),
    }
    if std::process::id() == 1 {
        let failure = reboot(RebootMode::RB_POWER_OFF);
        println!("init: cannot switch off: {failure:?}");
    }
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    ensure!(std::process::id() == 1, "this is /init of a virtual machine, and nothing for another place");
    for (kind, target, options) in MOUNTS {
        let options = Some(options).filter(|options| !options.is_empty());
        mount(Some(kind), target, Some(kind), MsFlags::empty(), options)
            .with_context(|| format!("mount {target}"))?;
    }
    e2e::net::loopback_up()?;
    for folder in ["/etc/afterimage", "/var/lib", "/var/log", "/var/tmp"] {
        fs::create_dir_all(folder)?;
    }
    fs::write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")?;
    fs::write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")?;
    fs::write("/etc/afterimage/afterimage.toml", CONFIG)?;
    step("kernel", || Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()))?;

    let program = Path::new(AGENT);
    let agent = step_with("the agent watches", || Agent::start(program, Path::new(LOG)))?;
    step("its self-check", || self_check(&agent))?;
    let (accounts, bundle) = children(&agent)?;
    step("the agent stops", || agent.stop().map(|()| String::new()))?;
    let events = agent::history(program)?;
    step("nothing was lost", || nothing_was_lost(&events).map(|()| format!("{} events", events.len())))?;
    for account in &accounts {
        step("compare with /proc", || {
            account.compare(&events).map(|()| format!("pid {}", account.seen.pid))
        })?;
    }
    step("bundle verify", || {
        agent::succeed(program, &["bundle", "verify", &bundle])?;
        Ok(bundle.clone())
    })
}

/// Children over IPv4 and IPv6, one that is captured while it lives, one that is killed.
fn children(agent: &Agent) -> Result<(Vec<known::Account>, String)> {
    let itself = Path::new("/init");
    let four = Known::start(itself, "127.0.0.1", 0)?;
    let six = Known::start(itself, "::1", 7)?;
    let killed = Known::start(itself, "127.0.0.1", 1)?;
    let mut bundle = String::new();
    step("capture", || {
        let path = agent.capture(&["--pid", &six.pid().to_string()])?;
        bundle = path.to_str().context("an odd path")?.to_owned();
        Ok(format!("{} bytes", fs::metadata(&path)?.len()))
    })?;
    Ok((vec![four.let_go()?, six.let_go()?, killed.kill()?], bundle))
}

/// What the probe says of itself, program by program.
fn self_check(agent: &Agent) -> Result<String> {
    let status = agent.status()?;
    for program in status["probe"]["programs"].as_array().context("no programs")? {
        println!("init: program {} {} {}", program["name"], program["fate"], program["self_check"]);
    }
    agent.self_check()?;
    Ok(format!("refused fields: {}", status["probe"]["refused_fields"]))
}

fn step(name: &str, work: impl FnOnce() -> Result<String>) -> Result<()> {
    step_with(name, || {
        let said = work()?;
        if !said.is_empty() {
            println!("init: {name}: {said}");
        }
        Ok(())
    })
}

fn step_with<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let value = work().with_context(|| name.to_owned())?;
    println!("init: {name}: ok");
    Ok(value)
}
