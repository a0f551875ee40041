//! `afterimage doctor` says in words what a host lets us see, and what is missing.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::{story, world};
use serde_json::Value;

/// What only those need who are not root.
const CAPABILITIES: [&str; 4] = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"];

#[test]
fn root_learns_what_is_missing_and_what_it_costs() {
    world::inside("root_learns_what_is_missing_and_what_it_costs", || {
        let program = story::program();
        let report = Report::of(&agent::ask(&program, &["doctor", "--json"])?)?;
        ensure!(report.0["root"] == true);
        ensure!(report.verdict("privileges")? == "good", "{}", report.0);

        let kcore = File::open("/proc/kcore").is_ok();
        report.agrees("/proc/kcore", kcore)?;
        ensure!(report.verdict("whole RAM")? == "missing", "a world has no RAM of its own: {}", report.0);
        let sources = Path::new("/sys/bus/event_source/devices");
        ensure!(sources.is_dir(), "the world does not show the kernel's event sources");
        report.agrees("kprobes", fs::symlink_metadata(sources.join("kprobe")).is_ok())?;

        ensure!(report.verdict("recorder")? == "missing", "no recorder runs: {}", report.0);
        let agent = Agent::start(&program, Path::new("/tmp/afterimage.log"))?;
        // The probe's own programs of this kind were loaded, or refused, by another part of the agent.
        let returns = returns(&agent.status()?)?;
        report
            .agrees("fentry", returns.contains(&"attached".to_owned()))
            .with_context(|| format!("{returns:?}"))?;
        // They hang on the same trampolines.
        let lsm = report.verdict("LSM programs")?;
        ensure!(["good", "missing"].contains(&lsm), "it was not tried: {}", report.0);
        ensure!(lsm == "missing" || report.verdict("fentry")? == "good", "{}", report.0);
        let report = Report::of(&agent::ask(&program, &["doctor", "--json"])?)?;
        ensure!(report.verdict("recorder")? == "good", "a recorder runs: {}", report.0);
        agent.stop()?;

        let said = String::from_utf8(agent::ask(&program, &["doctor"])?.stdout)?;
        println!("{said}");
        for check in report.checks()? {
            let cost = check["cost"].as_str().unwrap_or_default();
            let name = check["name"].as_str().context("no name")?;
            ensure!(said.contains(name) && said.contains(cost), "the words do not say {check}:\n{said}");
        }
        Ok(())
    });
}

#[test]
fn whoever_is_not_root_learns_what_it_would_need() {
    world::inside("whoever_is_not_root_learns_what_it_would_need", || {
        let ask = |arguments: &[&str]| {
            let mut command = Command::new(story::program());
            command.args(arguments).uid(world::SERVICE_USER).gid(world::SERVICE_USER).output()
        };
        let report = Report::of(&ask(&["doctor", "--json"])?)?;
        ensure!(report.0["root"] == false);
        ensure!(report.verdict("privileges")? == "missing", "{}", report.0);
        for kind in ["fentry", "LSM programs"] {
            ensure!(report.verdict(kind)? == "unknown", "{kind} cannot have been tried: {}", report.0);
        }
        let said = String::from_utf8(ask(&["doctor"])?.stdout)?;
        println!("{said}");
        ensure!(said.contains("root"), "not a word on what it would need:\n{said}");
        let privileges = report.check("privileges")?["found"].as_str().unwrap_or_default();
        for capability in CAPABILITIES {
            ensure!(privileges.contains(capability), "{capability} is not named: {privileges}");
            ensure!(said.contains(capability), "{capability} is not named:\n{said}");
        }
        Ok(())
    });
}

/// What `doctor --json` says.
struct Report(Value);

impl Report {
    /// Fails unless everything that is missing has its cost, nothing else has one, and the exit status fits.
    fn of(output: &Output) -> Result<Self> {
        let said = String::from_utf8_lossy(&output.stderr);
        let report = Self(serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())?);
        let mut blocks = false;
        for check in report.checks()? {
            let costs = check["cost"].as_str().is_some_and(|cost| cost.len() > 20);
            match check["verdict"].as_str() {
                Some("missing") => ensure!(costs, "no cost: {check}"),
                Some("blocks") => {
                    ensure!(costs, "no cost: {check}");
                    blocks = true;
                }
                Some("good" | "unknown") => ensure!(check["cost"].is_null(), "nothing is missing: {check}"),
                _ => anyhow::bail!("an odd verdict: {check}"),
            }
        }
        let status = output.status.code();
        ensure!(status == Some(i32::from(blocks)), "exit status {status:?} of {}", report.0);
        Ok(report)
    }

    fn checks(&self) -> Result<&Vec<Value>> {
        self.0["checks"].as_array().context("no checks")
    }

    fn check(&self, name: &str) -> Result<&Value> {
        let mut checks = self.checks()?.iter();
        checks.find(|check| check["name"] == name).with_context(|| format!("nothing on {name} in {}", self.0))
    }

    fn verdict(&self, name: &str) -> Result<&str> {
        self.check(name)?["verdict"].as_str().context("no verdict")
    }

    /// Fails unless it says `good` where it is there, and `missing` where it is not.
    fn agrees(&self, name: &str, is_there: bool) -> Result<()> {
        let expected = if is_there { "good" } else { "missing" };
        ensure!(self.verdict(name)? == expected, "it is {expected}: {}", self.check(name)?);
        Ok(())
    }
}

/// What became of the probe's programs at the return of kernel functions, those left out that this kernel does not need.
fn returns(status: &Value) -> Result<Vec<String>> {
    let programs = status["probe"]["programs"].as_array().context("no programs")?;
    let fates: Vec<String> = programs
        .iter()
        .filter(|program| program["hook"] == "inet_csk_accept")
        .filter_map(|program| program["fate"]["state"].as_str().map(str::to_owned))
        .collect();
    ensure!(!fates.is_empty(), "the probe has no such programs: {programs:?}");
    Ok(fates)
}
