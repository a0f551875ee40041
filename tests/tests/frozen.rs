//! What is held still runs again, whoever dies, and is as it was before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::frozen::{self, Method, Template, Ticker};
use e2e::hostile::{Account, Hostile};
use e2e::world::BIN;
use e2e::{story, wait, world};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

const LOG: &str = "/tmp/afterimage.log";
const KILLS: usize = 50;
/// Enough that reading it takes a while.
const MEBIBYTES: usize = 96;

#[test]
fn a_collector_is_killed_50_times_while_it_holds_by_ptrace() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_by_ptrace", || {
        killed(Method::Ptrace, Half::First)
    });
}

#[test]
fn a_collector_is_killed_50_times_while_it_holds_by_ptrace_and_as_often_again() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_by_ptrace_and_as_often_again", || {
        killed(Method::Ptrace, Half::Again)
    });
}

#[test]
fn a_collector_is_killed_50_times_while_it_holds_by_a_signal() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_by_a_signal", || {
        killed(Method::Stop, Half::First)
    });
}

#[test]
fn a_collector_is_killed_50_times_while_it_holds_by_a_signal_and_as_often_again() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_by_a_signal_and_as_often_again", || {
        killed(Method::Stop, Half::Again)
    });
}

#[test]
fn a_collector_is_killed_50_times_while_it_holds_a_cgroup_v2() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_a_cgroup_v2", || {
        killed(Method::Cgroup(2, hierarchy(2)?.join("victims")), Half::First)
    });
}

#[test]
fn a_collector_is_killed_50_times_while_it_holds_a_cgroup_v2_and_as_often_again() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_a_cgroup_v2_and_as_often_again", || {
        killed(Method::Cgroup(2, hierarchy(2)?.join("victims")), Half::Again)
    });
}

#[test]
fn a_collector_is_killed_50_times_while_it_holds_a_cgroup_v1() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_a_cgroup_v1", || {
        killed(Method::Cgroup(1, hierarchy(1)?.join("victims")), Half::First)
    });
}

#[test]
fn a_collector_is_killed_50_times_while_it_holds_a_cgroup_v1_and_as_often_again() {
    world::inside("a_collector_is_killed_50_times_while_it_holds_a_cgroup_v1_and_as_often_again", || {
        killed(Method::Cgroup(1, hierarchy(1)?.join("victims")), Half::Again)
    });
}

/// A hundred kills take longer than a world may live on a slow machine.
#[derive(PartialEq, Eq)]
enum Half {
    First,
    Again,
}

fn killed(method: Method, half: Half) -> Result<()> {
    let program = story::program();
    let agent = Agent::start(&program, Path::new(LOG))?;
    let ticker = Ticker::start(Path::new(&format!("{BIN}/ticker")), MEBIBYTES)?;
    if let Method::Cgroup(_, folder) = &method {
        frozen::cgroup(folder.parent().context("no parent")?, "victims", &[ticker.pid()])?;
    }
    let mut template = Template::of(&agent, &program, ticker.pid(), Path::new("/var/tmp/jobs"))?;
    agent.stop()?;
    let longest = frozen::killed(&mut template, &method, &ticker, KILLS)?;
    println!("{method:?}: {KILLS} of {KILLS} ran again, the last {longest:?} after the kill");
    if half == Half::Again {
        return Ok(());
    }
    let time = frozen::stopped(&mut template, &method, &ticker)?;
    println!("a collector that stands still: the target ran again after {time:?}");
    if !matches!(method, Method::Ptrace) {
        frozen::unguarded(&mut template, &method, &ticker)?;
    }
    Ok(())
}

#[test]
fn a_container_is_frozen_as_a_whole_and_what_was_frozen_stays_frozen() {
    world::inside("a_container_is_frozen_as_a_whole_and_what_was_frozen_stays_frozen", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        for version in [2, 1] {
            together(&agent, version).with_context(|| format!("cgroup v{version}"))?;
        }
        agent.stop()
    });
}

/// Two processes of one cgroup that are both in scope, as the first has started the second.
fn together(agent: &Agent, version: u8) -> Result<()> {
    let hierarchy = hierarchy(version)?;
    let forks = Hostile::start(&["pair"])?;
    let second = u32::try_from(forks.report["second"].as_u64().context("no second")?)?;
    let folder = frozen::cgroup(&hierarchy, "pair", &[forks.pid(), second])?;
    let expected = format!("cgroup_v{version}");
    let capture = |name: &str| {
        let bundle = agent.capture(&["--pid", &forks.pid().to_string()])?;
        Account::of(&bundle, Path::new(&format!("/var/tmp/{name}{version}")))
    };
    let account = capture("alive")?;
    for pid in [forks.pid(), second] {
        let frozen = account.frozen(pid);
        let whole =
            frozen.iter().find(|one| one["cgroup"] == "/pair").with_context(|| format!("{frozen:?}"))?;
        ensure!(whole["method"] == *expected && whole["micros"].as_u64() > Some(0), "{whole}");
        ensure!(whole["processes"].as_array().map(Vec::len) == Some(2) && whole["note"].is_null(), "{whole}");
        let (outcome, detail) = account.outcome(pid, "memory")?;
        ensure!(outcome == "ok", "{pid}: {outcome} {detail}");
        let report: serde_json::Value = serde_json::from_slice(&account.file(pid, "core.json")?)?;
        ensure!(report["method"] == *expected && report["not_stopped"] == serde_json::json!([]), "{report}");
    }
    let method = Method::Cgroup(version, folder.clone());
    ensure!(!method.holds(second)?, "it is still frozen");

    // Somebody else has frozen it: it is read, and stays frozen.
    let (control, on, off) =
        if version == 2 { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
    fs::write(folder.join(control), on)?;
    wait::until("the cgroup to be frozen", frozen::PAUSE, || Ok(method.holds(second)?.then_some(())))?;
    let account = capture("frozen")?;
    ensure!(method.holds(second)?, "it was frozen before, and is not any more");
    let note =
        account.frozen(second).iter().find_map(|one| one["note"].as_str()).unwrap_or_default().to_owned();
    ensure!(note.contains("frozen before"), "{:?}", account.frozen(second));
    fs::write(folder.join(control), off)?;
    Ok(())
}

#[test]
fn by_policy_a_process_is_stopped_by_a_signal_or_not_at_all() {
    world::inside("by_policy_a_process_is_stopped_by_a_signal_or_not_at_all", || {
        for (policy, expected) in [("stop", "stop"), ("none", "none")] {
            fs::create_dir_all("/etc/afterimage")?;
            fs::write("/etc/afterimage/afterimage.toml", format!("[capture]\nfreeze = \"{policy}\"\n"))?;
            let agent = Agent::start(&story::program(), Path::new(LOG))?;
            let quiet = Hostile::start(&["quiet"])?;
            let stopped = Hostile::start(&["quiet"])?;
            frozen::signal(stopped.pid(), Signal::SIGSTOP)?;
            for (target, before) in [(&quiet, 'S'), (&stopped, 'T')] {
                let state = || frozen::status(target.pid(), "State");
                wait::until("its state", frozen::PAUSE, || Ok(state()?.starts_with(before).then_some(())))?;
                let bundle = agent.capture(&["--pid", &target.pid().to_string()])?;
                let account = Account::of(&bundle, Path::new(&format!("/var/tmp/{policy}-{before}")))?;
                ensure!(state()?.starts_with(before), "{policy}: it was {before}, and is {}", state()?);
                let (outcome, detail) = account.outcome(target.pid(), "memory")?;
                ensure!(outcome == "ok", "{policy} {before}: {outcome} {detail}");
                let report: serde_json::Value =
                    serde_json::from_slice(&account.file(target.pid(), "core.json")?)?;
                // Who stands already needs no signal: its registers are read by ptrace.
                let expected = if policy == "stop" && before == 'T' { "ptrace" } else { expected };
                ensure!(report["method"] == expected, "{policy} {before}: {report}");
                ensure!((expected == "none") != report["smear"].is_null(), "{report}");
            }
            agent.stop()?;
        }
        Ok(())
    });
}

/// A mount of the hierarchy, which shows the world's own cgroup and what is below.
fn hierarchy(version: u8) -> Result<PathBuf> {
    let folder = PathBuf::from(format!("/run/cgroup{version}"));
    fs::create_dir_all(&folder)?;
    let (kind, options) = if version == 2 { ("cgroup2", None) } else { ("cgroup", Some("freezer")) };
    mount(Some(kind), &folder, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("mount {kind} {options:?}"))?;
    Ok(folder)
}
