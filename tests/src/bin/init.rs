//! /init of the virtual machine: runs known children under the agent and compares its reports with /proc.
//!
//! Its words on the console are the verdict: `init: everything passed`, and then it switches the machine off.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::events::nothing_was_lost;
use e2e::frozen::{self, Method, Template, Ticker};
use e2e::known::{self, Known};
use e2e::{deeds, wait};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use serde_json::Value;

const AGENT: &str = "/afterimage";
const LOG: &str = "/tmp/afterimage.log";
const PATIENCE: Duration = Duration::from_secs(30);
/// Of each way of holding.
const KILLS: usize = 3;
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
    let role = arguments.next();
    if role.as_deref() == Some("container") {
        return match e2e::container::inside() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("container: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if role.as_deref() == Some("child") {
        return match known::child(arguments) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                eprintln!("child: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let work = if role.as_deref() == Some("ram") { ram } else { run };
    match work() {
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

/// What every program expects of a machine.
fn prepare() -> Result<()> {
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
    step("kernel", || Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()))
}

fn run() -> Result<()> {
    prepare()?;
    fs::write("/etc/afterimage/afterimage.toml", CONFIG)?;

    let program = Path::new(AGENT);
    let agent = step_with("the agent watches", || Agent::start(program, Path::new(LOG)))?;
    step("its self-check", || self_check(&agent))?;
    step("file systems of containers", || e2e::container::is_watched(&agent, Path::new("/init")))?;
    let (accounts, bundle) = children(&agent)?;
    step("the rest of the probe", || attached(&agent))?;
    let did = Command::new("/deeds").arg("/tmp").current_dir("/tmp").output().context("do the deeds")?;
    let said = String::from_utf8_lossy(&did.stderr);
    let did = serde_json::from_slice(&did.stdout).with_context(|| format!("the deeds: {said}"))?;
    let mut template = step_with("a target to hold", || target(&agent))?;
    step("frozen, and the clock set", || blinded(&agent))?;
    step("the agent stops", || agent.stop().map(|()| String::new()))?;
    for method in methods()? {
        let (template, ticker) = &mut template;
        step(&format!("collectors are killed while they hold by {method:?}"), || {
            if matches!(method, Method::Cgroup(1, _)) {
                // A cgroup of the unified hierarchy would be taken first.
                fs::write("/sys/fs/cgroup/cgroup.procs", ticker.pid().to_string())?;
            }
            let longest = frozen::killed(template, &method, ticker, KILLS)?;
            Ok(format!("{KILLS} of {KILLS} ran again, the last {longest:?} after the kill"))
        })?;
    }
    let events = agent::history(program)?;
    step("nothing was lost", || nothing_was_lost(&events).map(|()| format!("{} events", events.len())))?;
    step("what was asked of the kernel", || deeds::compare(&events, &did, "/tmp").map(|()| did.to_string()))?;
    for account in &accounts {
        step("compare with /proc", || {
            account.compare(&events).map(|()| format!("pid {}", account.seen.pid))
        })?;
    }
    step("bundle verify", || {
        agent::succeed(program, &["bundle", "verify", &bundle])?;
        Ok(bundle.clone())
    })?;
    step("nothing hides", || nothing_hides(program, &bundle))
}

/// On this machine nothing does: not one false alarm, and of the kernel's own things something was compared.
fn nothing_hides(program: &Path, bundle: &str) -> Result<String> {
    let into = "/tmp/extracted";
    fs::create_dir(into)?;
    agent::succeed(program, &["bundle", "extract", bundle, "--artifact", "hidden/*", "--output", into])?;
    let folder = fs::read_dir(into)?.next().context("nothing was extracted")??.path();
    let found = e2e::churn::findings(&folder, true)?;
    ensure!(found.is_empty(), "{found:#?}");
    let read = |kind: &str| -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(folder.join(format!("data/hidden/{kind}.json")))?)?)
    };
    let (programs, modules) = (read("bpf")?["compared"].clone(), read("modules")?["compared"].clone());
    // The agent's own programs were there.
    let listed = programs["list"].as_u64();
    ensure!(listed > Some(0) && programs["asked for by number"].as_u64() >= listed, "{programs}");
    ensure!(programs["held by processes"].as_u64() > Some(0), "{programs}");
    Ok(format!("BPF programs: {programs}, modules: {modules}"))
}

/// The other test, for which the kernel's command line asks.
fn ram() -> Result<()> {
    prepare()?;
    e2e::ram::run(Path::new(AGENT))
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

/// A process that collectors will hold, in a cgroup of either kind, and the job for that.
fn target(agent: &Agent) -> Result<(Template, Ticker)> {
    let ticker = Ticker::start(Path::new("/ticker"), 32)?;
    for method in methods()? {
        if let Method::Cgroup(_, folder) = method {
            frozen::cgroup(folder.parent().context("no parent")?, "victims", &[ticker.pid()])?;
        }
    }
    Ok((Template::of(agent, Path::new(AGENT), ticker.pid(), Path::new("/var/tmp/jobs"))?, ticker))
}

/// Every way of holding that this kernel has.
fn methods() -> Result<Vec<Method>> {
    let mut methods = vec![Method::Ptrace, Method::Stop, Method::Cgroup(2, "/sys/fs/cgroup/victims".into())];
    let freezer = Path::new("/run/freezer");
    if !freezer.exists() {
        fs::create_dir(freezer)?;
        mount(Some("cgroup"), freezer, Some("cgroup"), MsFlags::empty(), Some("freezer"))
            .context("mount the freezer of cgroup v1")?;
    }
    methods.push(Method::Cgroup(1, freezer.join("victims")));
    Ok(methods)
}

/// Waits until no program is about to be attached: on an emulated machine each takes seconds.
fn attached(agent: &Agent) -> Result<String> {
    let mut last = usize::MAX;
    wait::until("every program to be attached", PATIENCE * 10, || {
        let status = agent.status()?;
        let programs = status["probe"]["programs"].as_array().context("no programs")?;
        let of = |state: &str| programs.iter().filter(|program| program["fate"]["state"] == state).count();
        if of("attaching") != last {
            last = of("attaching");
            println!("init: {last} programs are about to be attached");
        }
        Ok((last == 0).then(|| format!("{} attached, {} missing", of("attached"), of("missing"))))
    })
}

/// The agent's cgroup is frozen for three seconds, and the clock set forwards by ten minutes: both must be told.
fn blinded(agent: &Agent) -> Result<String> {
    let folder = Path::new("/sys/fs/cgroup/agent");
    fs::create_dir(folder)?;
    fs::write(folder.join("cgroup.procs"), agent.pid().to_string())?;
    fs::write(folder.join("cgroup.freeze"), "1")?;
    let begun = Instant::now();
    wait::until("three seconds", PATIENCE, || Ok((begun.elapsed().as_secs() >= 3).then_some(())))?;
    fs::write(folder.join("cgroup.freeze"), "0")?;
    let stood = told(agent, "stood still for 3")?;
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(now.tv_sec() + 600, now.tv_nsec()))?;
    let step = told(agent, "set forwards by")?;
    // The time between reading the clock and setting it is missing: less than 100 ms, also on an emulated machine.
    let right = ["by 5999", "by 6000"].iter().any(|length| step.contains(length));
    ensure!(right, "ten minutes are told as: {step}");
    Ok(format!("{stood}; {step}"))
}

/// The message of the gap that has these words.
fn told(agent: &Agent, words: &str) -> Result<String> {
    wait::until(&format!("the gap: {words}"), PATIENCE, || {
        let events = agent.history()?;
        let gaps = events.iter().filter(|event| event["event.action"] == "gap");
        let mut messages = gaps.filter_map(|event| event["message"].as_str());
        Ok(messages.find(|message| message.contains(words)).map(str::to_owned))
    })
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
